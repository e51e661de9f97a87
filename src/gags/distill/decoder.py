"""Decoders: the short feature of a Gaussian or a pixel becomes an embedding and granularity logits (Eq. 2).

Of the nets that the paper and the released program use, widths are published, but not where the two additive
joins are. Here they close two residual blocks: what goes into four layers is added to what comes out of them.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from gags.distill.linear import Linear, linear

GRANULARITY_HIDDEN = 64  # of the principal decoder; the released program's six layers learn no faster there
TRUNK_WIDTH = 256  # of the released program, as are the numbers below
LAYERS_A_BLOCK = 4
BLOCKS = 2
GRANULARITY_WIDTHS = (64, 128, 64, 32, 16)
LEVEL_COUNT = 3
DECODED_AT_ONCE = 1 << 16  # features decoded at once, to bound memory
WIDE_AT_ONCE = 1 << 13  # by nets of 256 on a CPU: layers that fit its caches take half of the time


class Decoder(nn.Module):
    """Feature → embedding and granularity logits (GAGS Eq. 2).

    Embeddings come as `coordinates`, of which cosines with vectors of the encoder's space are `fold`ed out:
    for decoders without a basis of their own, coordinates are the embeddings.

    Attributes:
        kind: Value of the setting `decoder` that it stands for.
    """

    kind: ClassVar[str]

    @property
    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Arguments by name that make another one of the same shape."""

    @property
    @abstractmethod
    def rank(self) -> int:
        """Length r of the coordinates."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Length D of the encoder's embeddings."""

    @abstractmethod
    def coordinates(self, features: Tensor) -> Tensor:
        """Unit embeddings in the decoder's own coordinates. [..., d] → [..., r]"""

    @abstractmethod
    def granularity(self, features: Tensor) -> Tensor:
        """Logits of the levels sub-part, part and whole. [..., d] → [..., 3]"""

    @abstractmethod
    def embeddings(self, features: Tensor) -> Tensor:
        """Unit embeddings in the encoder's space. [..., d] → [..., D]; large, for few features only."""

    @abstractmethod
    def fold(self, vectors: Tensor) -> Tensor:
        """Vectors of the encoder's space in the decoder's coordinates, as columns. [T, D] → [r, T]"""

    def decode(self, features: Tensor, *, detach_granularity: bool) -> tuple[Tensor, Tensor]:
        """Both at once, for training.

        Args:
            features: Features as rendered. [P, d]
            detach_granularity: Whether no gradient of the logits reaches the features.

        Returns:
            `coordinates` [P, r] and `granularity` [P, 3].
        """
        logits = self.granularity(features.detach() if detach_granularity else features)
        return self.coordinates(features), logits

    def chunks(self, features: Tensor) -> tuple[Tensor, ...]:
        """Features [P, d] in as many pieces as are best decoded one by one."""
        return features.split(DECODED_AT_ONCE)

    @torch.no_grad()
    def similarities(self, features: Tensor, vectors: Tensor) -> Tensor:
        """Cosines of decoded features with vectors of the encoder's space.

        Args:
            features: Features as rendered or as stored. [P, d]
            vectors: L2-normalised embeddings, e.g. of texts. [T, D]

        Returns:
            Cosines. [P, T]
        """
        folded = self.fold(vectors)
        return torch.cat([self.coordinates(chunk) @ folded for chunk in self.chunks(features)])


@dataclass(frozen=True)
class DecoderShape:
    """Sizes of the principal decoder.

    Attributes:
        feature: Length d of a Gaussian's feature.
        hidden: Width of the hidden layers.
        rank: Number r of principal directions of the scene's embeddings that it writes into.
        dim: Length D of the encoder's embeddings.
    """

    feature: int
    hidden: int
    rank: int
    dim: int


class PrincipalDecoder(Decoder):
    """A small net into the principal directions of the scene's embeddings; another for the levels.

    The embedding is `normalise(basis · z)` with z = skip(f) + body(f). `basis` [D, r] holds orthonormal
    principal directions of the scene's embeddings and does not learn, so that cosines with a vector v of the
    encoder's space are cosines with basisᵀ·v: nothing of length D is needed to train or to query.
    """

    kind = "principal"
    basis: Tensor

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("basis", torch.zeros(shape.dim, shape.rank))
        self.skip = nn.Linear(shape.feature, shape.rank)
        self.body = layers((shape.feature, shape.hidden, shape.hidden, shape.rank))
        self.levels = layers((shape.feature, GRANULARITY_HIDDEN, GRANULARITY_HIDDEN, LEVEL_COUNT))

    @property
    def sizes(self) -> dict[str, int]:
        return dict(vars(self.shape))

    @property
    def rank(self) -> int:
        return self.shape.rank

    @property
    def dim(self) -> int:
        return self.shape.dim

    def coordinates(self, features: Tensor) -> Tensor:
        """Unit embeddings in the coordinates of `basis`. [..., d] → [..., r]"""
        return normalize(self.skip(features) + self.body(features), dim=-1)

    def embeddings(self, features: Tensor) -> Tensor:
        return self.coordinates(features) @ self.basis.T

    def granularity(self, features: Tensor) -> Tensor:
        return self.levels(features)

    def fold(self, vectors: Tensor) -> Tensor:
        return (vectors.to(self.basis) @ self.basis).T


class _WholeDecoder(Decoder):
    """A decoder whose coordinates are the embedding itself."""

    def __init__(self, feature: int, dim: int) -> None:
        super().__init__()
        self._feature, self._dim = feature, dim

    @property
    def sizes(self) -> dict[str, int]:
        return {"feature": self._feature, "dim": self._dim}

    @property
    def rank(self) -> int:
        return self._dim

    @property
    def dim(self) -> int:
        return self._dim

    def chunks(self, features: Tensor) -> tuple[Tensor, ...]:
        return features.split(WIDE_AT_ONCE if features.device.type == "cpu" else DECODED_AT_ONCE)

    def embeddings(self, features: Tensor) -> Tensor:
        return self.coordinates(features)

    def fold(self, vectors: Tensor) -> Tensor:
        return vectors.to(next(self.parameters())).T


class OneNet(_WholeDecoder):
    """One net for embedding and levels, as the paper's Eq. 2 has it: they share all layers but the last.

    The paper gives no widths; they are those of the released program's net for embeddings.

    Args:
        feature: Length d of a Gaussian's feature.
        dim: Length D of the encoder's embeddings.
    """

    kind = "one-net"

    def __init__(self, feature: int, dim: int) -> None:
        super().__init__(feature, dim)
        self.trunk = Trunk(feature)
        self.head = Linear(TRUNK_WIDTH, dim + LEVEL_COUNT)

    def coordinates(self, features: Tensor) -> Tensor:
        """Unit embeddings. [..., d] → [..., D]"""
        return self._both(features)[0]

    def granularity(self, features: Tensor) -> Tensor:
        weight, bias = self.head.weight[self._dim :], self.head.bias[self._dim :]
        return linear(self.trunk(features), weight, bias)

    def decode(self, features: Tensor, *, detach_granularity: bool) -> tuple[Tensor, Tensor]:
        if detach_granularity:  # the shared layers run twice, once cut off from the features
            return super().decode(features, detach_granularity=True)
        return self._both(features)

    def _both(self, features: Tensor) -> tuple[Tensor, Tensor]:
        out = self.head(self.trunk(features))
        return normalize(out[..., : self._dim], dim=-1), out[..., self._dim :]


class TwoNets(_WholeDecoder):
    """The released program's nets: one for the embedding, one of its own for the levels.

    Args:
        feature: Length d of a Gaussian's feature.
        dim: Length D of the encoder's embeddings.
    """

    kind = "two-nets"

    def __init__(self, feature: int, dim: int) -> None:
        super().__init__(feature, dim)
        self.trunk = Trunk(feature)
        self.head = Linear(TRUNK_WIDTH, dim)
        self.levels = layers((feature, *GRANULARITY_WIDTHS, LEVEL_COUNT), Linear)

    def coordinates(self, features: Tensor) -> Tensor:
        """Unit embeddings. [..., d] → [..., D]"""
        return normalize(self.head(self.trunk(features)), dim=-1)

    def granularity(self, features: Tensor) -> Tensor:
        return self.levels(features)


class Trunk(nn.Module):
    """d → 256, then eight layers of 256 in two residual blocks, a ReLU after each layer.

    Args:
        feature: Length d of the input.
    """

    def __init__(self, feature: int) -> None:
        super().__init__()
        self.enter = Linear(feature, TRUNK_WIDTH)
        widths = (TRUNK_WIDTH,) * (LAYERS_A_BLOCK + 1)
        self.blocks = nn.ModuleList(layers(widths, Linear) for _ in range(BLOCKS))

    def forward(self, features: Tensor) -> Tensor:
        """[..., d] → [..., 256]"""
        hidden = self.enter(features).relu()
        for block in self.blocks:
            hidden = hidden + block(hidden).relu()
        return hidden


def layers(widths: Sequence[int], kind: type[nn.Linear] = nn.Linear) -> nn.Sequential:
    """Linear layers with a ReLU between each two.

    Args:
        widths: Of the input, of what every layer gives.
        kind: Class of the layers.
    """
    parts: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        parts += [kind(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def decoder_of(kind: str, sizes: Mapping[str, int]) -> Decoder:
    """A new decoder.

    Args:
        kind: Value of the setting `decoder`.
        sizes: `Decoder.sizes` of one like it.

    Raises:
        KeyError: If there is no such kind.
        TypeError: If the sizes are not those of this kind.
    """
    makers = {
        "principal": lambda **given: PrincipalDecoder(DecoderShape(**given)),
        "one-net": OneNet,
        "two-nets": TwoNets,
    }
    return makers[kind](**sizes)
