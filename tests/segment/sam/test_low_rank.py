"""Both passes of the low-rank decoder on made-up numbers, against the same attentions written out densely."""

import numpy as np
import torch
from torch import Tensor

from gags.segment.sam import passes
from gags.segment.sam.low_rank import (
    FREE,
    ONES_LAST,
    Projected,
    Update,
    Values,
    centred,
    from_sums,
    in_blocks,
    upper,
)

PROMPTS, POSITIONS = 3, 2 * passes.BLOCK


def _random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _norm(x: Tensor) -> Tensor:
    return torch.nn.functional.layer_norm(x, x.shape[-1:])


class Layer:
    """One attention of the image to the tokens, and the projections that ask the image afterwards."""

    def __init__(self, seed: int) -> None:
        self.out = _random(8, 16, 256, seed=seed)
        self.bias = _random(256, seed=seed + 1)
        self.to_keys, self.to_values = _random(2, 8, 256, 16, seed=seed + 2) / 16
        self.fixed = _random(8, 16, POSITIONS, seed=seed + 3)
        self.tokens = _random(PROMPTS, 8, 7, 16, seed=seed + 4)  # values
        self.keys, self.queries = _random(2, PROMPTS, 8, 7, 16, seed=seed + 5)
        self.queries *= 0.7
        self.queries[0] *= 40  # nearly all of the weight on one position, in any block

    def added(self, scores: Tensor) -> Tensor:
        """What the tokens add to the image, given scores. [N, 8, 7, P] to [N, P, 256]"""
        weights = scores.softmax(2)
        return torch.einsum("nhtp,nhtd,hdc->npc", weights, self.tokens, self.out) + self.bias

    def attended(self, image: Tensor, tokens: int = 7) -> Tensor:
        """Attention of the tokens to an image [N, P, 256], before bias and output projection."""
        keys = torch.einsum("npc,hcd->nhdp", image, self.to_keys) + self.fixed
        weights = (self.queries[:, :, :tokens] @ keys).softmax(-1)
        values = torch.einsum("npc,hcd->nhpd", image, self.to_values)
        return (weights @ values).transpose(1, 2).flatten(2)

    def update(self) -> Update:
        return Update(self.out.float(), self.bias.float()).centred()

    def values(self) -> Values:
        return Values.of(self.tokens.float().transpose(1, 2).flatten(2))

    def along(self, image: Tensor) -> Update:
        """Products of what it adds with the rows of an image. [P, 256]"""
        heads = self.out @ image.T
        return Update(in_blocks(heads.float()), (image @ self.bias).float())

    def projected(self, image: Tensor) -> tuple[Projected, np.ndarray]:
        keys, values = (torch.matmul(image, each).mT for each in (self.to_keys, self.to_values))
        parts = [in_blocks(each.float()) for each in (keys, self.fixed, values)]
        return Projected(*parts[:2]), parts[2].numpy()

    def rows(self, update: Update, values: Values) -> tuple[Tensor, Tensor]:
        """B times the projections to keys and to values."""
        return tuple(  # type: ignore[return-value]
            update.times(each.transpose(0, 1).reshape(256, -1).float()).rows(values)
            for each in (self.to_keys, self.to_values)
        )


def test_both_passes_are_the_attentions_written_out():
    first, second = Layer(10), Layer(20)
    image = centred(_random(POSITIONS, 256, seed=1)) * (1 + torch.arange(POSITIONS)[:, None] / 99)
    asked = _random(8, 16, POSITIONS, seed=2)
    weights = torch.full((PROMPTS, POSITIONS // passes.BLOCK, 2 * FREE + 2, passes.BLOCK), torch.nan)
    half = _norm(image + first.added(first.keys @ asked))
    values, update = first.values(), first.update()
    added = update.rows(values)
    gram = added @ added.mT
    projected, photo_values = first.projected(image)
    to_keys, to_values = first.rows(update, values)
    sums = passes.first_pass(
        first.keys.float().numpy(),
        in_blocks(asked.float()).numpy(),
        values.added(first.along(image)),
        image.square().sum(1).float().numpy(),
        gram.numpy(),
        upper(gram[:, :FREE, :FREE]),
        projected.asked(first.queries.float(), [to_keys]),
        photo_values,
        weights.numpy(),
    )
    np.testing.assert_allclose(from_sums(sums, [to_values]), first.attended(half), rtol=1e-3, atol=1e-3)

    # The second layer asks with projections of its own, and adds to what the first one left.
    image_queries, _ = second.projected(image)
    scores = second.keys @ (torch.einsum("npc,hcd->nhdp", half, second.to_keys) + second.fixed)
    whole = _norm(half + second.added(scores))
    last_values, last_update = second.values(), second.update()
    added = torch.cat([update.rows(values), last_update.rows(last_values)], 1)[:, ONES_LAST]
    gram = added @ added.mT
    rows = [second.rows(each, of) for each, of in ((update, values), (last_update, last_values))]
    projected, photo_values = second.projected(image)
    sums = passes.second_pass(
        image_queries.asked(second.keys.float(), [second.rows(update, values)[0]]),
        values.added(first.along(image)),
        last_values.added(second.along(image)),
        image.square().sum(1).float().numpy(),
        gram.numpy(),
        upper(gram[:, : 2 * FREE, : 2 * FREE]),
        projected.asked(second.queries[:, :, :4].float().contiguous(), [each[0] for each in rows]),
        photo_values,
        weights.numpy(),
    )
    found = from_sums(sums, [each[1] for each in rows])
    np.testing.assert_allclose(found, second.attended(whole, 4), rtol=1e-3, atol=1e-3)
    # What stays behind is the whole image: s₁ s₂ X₀ + A B.
    left = weights.transpose(1, 2).flatten(2)
    made = left[:, 2 * FREE, :, None] * image + left.mT @ added
    np.testing.assert_allclose(made, whole, rtol=1e-3, atol=1e-3)


def test_the_photo_is_asked_as_written_out():
    layer = Layer(30)
    image = _random(POSITIONS, 256, seed=3)
    keys = torch.einsum("pc,hcd->hdp", image, layer.to_keys) + layer.fixed
    values = torch.einsum("pc,hcd->hdp", image, layer.to_values)
    parts = [in_blocks(each.float()).numpy() for each in (keys, values)]
    sums = passes.ask_photo(layer.queries.float().numpy(), *parts)
    expected = layer.attended(image.expand(PROMPTS, -1, -1))
    np.testing.assert_allclose(from_sums(sums, []), expected, rtol=1e-3, atol=1e-3)
