"""The three decoders against plain NumPy, what their gradients reach, and how fields keep them."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from tests.helpers.blobs import make_scene

from gags.distill.decoder import Decoder, OneNet, PrincipalDecoder, Trunk, TwoNets, decoder_of
from gags.distill.field import LanguageField, splats_hash
from gags.errors import WorkspaceError
from gags.gaussians import Gaussians

FEATURE, DIM, COUNT = 16, 40, 25
KINDS = {
    "principal": {"feature": FEATURE, "hidden": 8, "rank": 6, "dim": DIM},
    "one-net": {"feature": FEATURE, "dim": DIM},
    "two-nets": {"feature": FEATURE, "dim": DIM},
}
WHOLE = ["one-net", "two-nets"]  # those whose coordinates are the embedding


@pytest.fixture(scope="module")
def gaussians() -> Gaussians:
    return make_scene(views=1).gaussians


@pytest.fixture(params=list(KINDS))
def decoder(request: pytest.FixtureRequest) -> Decoder:
    return made(request.param)


def made(kind: str) -> Decoder:
    """A decoder with random weights, none of them 0."""
    torch.manual_seed(0)
    decoder = decoder_of(kind, KINDS[kind])
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    if isinstance(decoder, PrincipalDecoder):
        decoder.basis.copy_(torch.linalg.qr(torch.randn(DIM, 6)).Q)
    return decoder


def rows(count: int = COUNT) -> torch.Tensor:
    return torch.randn(count, FEATURE, generator=torch.Generator().manual_seed(1))


def arrays(decoder: Decoder) -> dict[str, np.ndarray]:
    return {name: value.double().numpy() for name, value in decoder.state_dict().items()}


def linear(weights: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    return x @ weights[name + ".weight"].T + weights[name + ".bias"]


def net(weights: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    """Layers `name.0`, `name.2`, ..., with a ReLU between each two."""
    places = sorted(int(key.split(".")[-2]) for key in weights if key.startswith(name) and "weight" in key)
    for place in places:
        x = linear(weights, f"{name}.{place}", x)
        x = np.maximum(x, 0) if place != places[-1] else x
    return x


def trunk(weights: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """16 → 256, then two times: four layers of 256, and what went into them is added."""
    x = np.maximum(linear(weights, "trunk.enter", x), 0)
    for block in range(2):
        x = x + np.maximum(net(weights, f"trunk.blocks.{block}", x), 0)
    return x


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def by_numpy(decoder: Decoder, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings [P, D] and logits [P, 3], from the weights alone."""
    weights = arrays(decoder)
    if decoder.kind == "principal":
        coordinates = unit(linear(weights, "skip", x) + net(weights, "body", x))
        return coordinates @ weights["basis"].T, net(weights, "levels", x)
    if decoder.kind == "one-net":
        out = linear(weights, "head", trunk(weights, x))
        return unit(out[:, :DIM]), out[:, DIM:]
    return unit(linear(weights, "head", trunk(weights, x))), net(weights, "levels", x)


def test_embeddings_and_logits_are_those_of_the_layers(decoder: Decoder):
    x = rows()
    embeddings, logits = by_numpy(decoder, x.double().numpy())
    with torch.no_grad():
        np.testing.assert_allclose(decoder.embeddings(x), embeddings, atol=1e-5)
        np.testing.assert_allclose(decoder.granularity(x), logits, atol=1e-5)
        for detached in (False, True):
            coordinates, found = decoder.decode(x, detach_granularity=detached)
            np.testing.assert_allclose(coordinates, decoder.coordinates(x), atol=1e-6)
            np.testing.assert_allclose(found, logits, atol=1e-5)
    assert (decoder.rank, decoder.dim) == (6 if decoder.kind == "principal" else DIM, DIM)
    assert decoder.sizes == KINDS[decoder.kind]


def test_cosines_are_folded_out_of_coordinates(decoder: Decoder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gags.distill.decoder.DECODED_AT_ONCE", 7)  # of 25
    monkeypatch.setattr("gags.distill.decoder.WIDE_AT_ONCE", 6)
    x = rows()
    vectors = unit(np.random.default_rng(0).normal(size=(4, DIM)))
    embeddings, _ = by_numpy(decoder, x.double().numpy())
    given = torch.from_numpy(vectors).float()
    with torch.no_grad():
        np.testing.assert_allclose(
            decoder.coordinates(x) @ decoder.fold(given), embeddings @ vectors.T, atol=1e-5
        )
    assert decoder.fold(given).shape == (decoder.rank, 4)
    assert len(decoder.chunks(x)) == (4 if decoder.kind == "principal" else 5)
    np.testing.assert_allclose(decoder.similarities(x, given), embeddings @ vectors.T, atol=1e-5)


def test_shapes_of_images_go_through(decoder: Decoder):
    image = rows(12).reshape(3, 4, FEATURE)
    assert decoder.coordinates(image).shape == (3, 4, decoder.rank)
    assert decoder.granularity(image).shape == (3, 4, 3)
    torch.testing.assert_close(decoder.granularity(image)[1, 2], decoder.granularity(image[1, 2]))


@pytest.mark.parametrize("kind", WHOLE)
def test_the_widths_are_the_released_programs(kind: str):
    shapes = {name: tuple(p.shape) for name, p in made(kind).named_parameters() if name.endswith("weight")}
    body = {"trunk.enter.weight": (256, FEATURE)}
    body |= {f"trunk.blocks.{b}.{layer}.weight": (256, 256) for b in (0, 1) for layer in (0, 2, 4, 6)}
    if kind == "one-net":
        assert shapes == body | {"head.weight": (DIM + 3, 256)}
        return
    widths = [FEATURE, 64, 128, 64, 32, 16, 3]
    levels = {f"levels.{2 * i}.weight": (out, into) for i, (into, out) in enumerate(pairwise(widths))}
    assert shapes == body | {"head.weight": (DIM, 256)} | levels


def test_joins_add_what_goes_into_a_block():
    """With blocks whose last layer gives nothing, what enters is what leaves."""
    torch.manual_seed(0)
    body = Trunk(FEATURE)
    with torch.no_grad():
        for block in body.blocks:
            last = block[-1]  # pyright: ignore[reportIndexIssue]
            last.weight.zero_()
            last.bias.fill_(-1.0)  # a ReLU follows
        x = rows()
        torch.testing.assert_close(body(x), body.enter(x).relu())


# --- gradients --------------------------------------------------------------------------------------


def gradient_of_logits(decoder: Decoder, *, detached: bool) -> tuple[torch.Tensor | None, set[str]]:
    """Gradient of a sum of logits at the features, and the parameters that it reaches."""
    x = rows().requires_grad_(True)
    decoder.requires_grad_(True)
    decoder.zero_grad(set_to_none=True)
    _, logits = decoder.decode(x, detach_granularity=detached)
    logits[:, 1].sum().backward()
    reached = {
        name for name, p in decoder.named_parameters() if p.grad is not None and p.grad.abs().max() > 0
    }
    return x.grad, reached


def test_one_net_lets_logits_teach_features_and_all_shared_layers():
    decoder = made("one-net")
    gradient, reached = gradient_of_logits(decoder, detached=False)
    assert gradient is not None
    assert (gradient.abs().amax(dim=1) > 0).all()
    assert reached == {name for name, _ in decoder.named_parameters()}


def test_one_net_detached_still_teaches_the_shared_layers():
    decoder = made("one-net")
    gradient, reached = gradient_of_logits(decoder, detached=True)
    assert gradient is None
    assert reached == {name for name, _ in decoder.named_parameters()}


@pytest.mark.parametrize("kind", ["two-nets", "principal"])
def test_nets_of_their_own_for_levels_leave_embeddings_alone(kind: str):
    decoder = made(kind)
    gradient, reached = gradient_of_logits(decoder, detached=True)
    assert gradient is None
    assert reached == {name for name, _ in decoder.named_parameters() if name.startswith("levels.")}
    gradient, reached = gradient_of_logits(decoder, detached=False)
    assert gradient is not None
    assert (gradient.abs().amax(dim=1) > 0).all()


def test_embeddings_reach_features_whether_or_not_logits_do(decoder: Decoder):
    for detached in (False, True):
        x = rows().requires_grad_(True)
        decoder.decode(x, detach_granularity=detached)[0][:, 0].sum().backward()
        assert x.grad is not None
        assert (x.grad.abs().amax(dim=1) > 0).all()


def test_one_net_has_a_gradient_at_features_of_zero():
    """Features start at 0 in the presets `paper` and `released`: they must be able to leave it."""
    for kind in WHOLE:
        torch.manual_seed(0)
        decoder = decoder_of(kind, KINDS[kind])  # as training makes it
        x = torch.zeros(3, FEATURE, requires_grad=True)
        embedding, _ = decoder.decode(x, detach_granularity=False)
        embedding[:, 0].sum().backward()
        assert x.grad is not None
        assert x.grad.abs().max() > 1e-4


# --- files ------------------------------------------------------------------------------------------


def field_of(decoder: Decoder, gaussians: Gaussians, **more) -> LanguageField:
    features = rows(len(gaussians)).half().float()
    return LanguageField(features, decoder, "toy", splats_hash(gaussians), {"field": "abc"}, **more)


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, "np") as file:
        return file.metadata()


@pytest.mark.parametrize("asked", ["gaussians", "pixels"])
def test_a_field_keeps_its_decoder_and_how_it_is_asked(decoder, gaussians, tmp_path: Path, asked):
    path = tmp_path / "field.safetensors"
    field = field_of(decoder, gaussians, asked=asked)
    field.save(path)
    loaded = LanguageField.load(path, gaussians)
    assert (loaded.asked, loaded.encoder_name, loaded.stamps) == (asked, "toy", {"field": "abc"})
    assert type(loaded.decoder) is type(decoder)
    assert loaded.decoder.sizes == decoder.sizes
    assert torch.equal(loaded.features, field.features)
    for name, value in decoder.state_dict().items():
        assert torch.equal(loaded.decoder.state_dict()[name], value)
    vectors = torch.eye(DIM)[:3]
    torch.testing.assert_close(loaded.similarities(vectors), field.similarities(vectors))
    assert loaded.to("cpu").asked == asked
    assert ("asked" in metadata_of(path)) == (asked == "pixels")


def test_the_default_field_has_the_file_that_it_always_had(gaussians, tmp_path: Path):
    """No key and no tensor that version 0.1.0 did not write but a checksum, and none missing."""
    path = tmp_path / "field.safetensors"
    field = field_of(made("principal"), gaussians)
    field.save(path)
    metadata = metadata_of(path)
    assert metadata.pop("checksum").startswith("crc32:")
    assert metadata == {
        "format": "gags-field-1",
        "encoder": "toy",
        "decoder": '{"feature": 16, "hidden": 8, "rank": 6, "dim": 40}',
        "splats_count": str(len(gaussians)),
        "splats_hash": field.splats_hash,
        "stamps": '{"field": "abc"}',
    }
    found = {name: (str(value.dtype), value.shape) for name, value in load_file(path).items()}
    shapes = {"body.0": (8, 16), "body.2": (8, 8), "body.4": (6, 8), "skip": (6, 16)}
    shapes |= {"levels.0": (64, 16), "levels.2": (64, 64), "levels.4": (3, 64)}
    expected = {f"decoder.{name}.weight": ("float32", shape) for name, shape in shapes.items()}
    expected |= {f"decoder.{name}.bias": ("float32", shape[:1]) for name, shape in shapes.items()}
    expected |= {"decoder.basis": ("float32", (40, 6)), "features": ("float16", (len(gaussians), 16))}
    assert found == expected


def test_a_file_of_version_0_1_0_is_read(gaussians, tmp_path: Path):
    """Written here tensor by tensor, and its embeddings worked out from them."""
    rng = np.random.default_rng(3)
    shapes = {"skip": (6, 16), "body.0": (8, 16), "body.2": (8, 8), "body.4": (6, 8)}
    shapes |= {"levels.0": (64, 16), "levels.2": (64, 64), "levels.4": (3, 64)}
    weights = {f"decoder.{n}.weight": rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    weights |= {f"decoder.{n}.bias": rng.normal(size=s[0]).astype(np.float32) for n, s in shapes.items()}
    weights["decoder.basis"] = np.linalg.qr(rng.normal(size=(DIM, 6)))[0].astype(np.float32)
    features = rng.normal(size=(len(gaussians), 16)).astype(np.float16)
    path = tmp_path / "field.safetensors"
    metadata = {
        "format": "gags-field-1",
        "encoder": "toy",
        "decoder": json.dumps({"feature": 16, "hidden": 8, "rank": 6, "dim": DIM}),
        "splats_count": str(len(gaussians)),
        "splats_hash": splats_hash(gaussians),
        "stamps": "{}",
    }
    save_file(weights | {"features": features}, path, metadata)
    loaded = LanguageField.load(path, gaussians)
    assert (type(loaded.decoder), loaded.asked) == (PrincipalDecoder, "gaussians")
    plain = {name.removeprefix("decoder."): value.astype(np.float64) for name, value in weights.items()}
    x = features.astype(np.float64)
    expected = unit(linear(plain, "skip", x) + net(plain, "body", x)) @ plain["basis"].T
    with torch.no_grad():
        embeddings, logits = (
            loaded.decoder.embeddings(loaded.features),
            loaded.decoder.granularity(loaded.features),
        )
    np.testing.assert_allclose(embeddings, expected, atol=1e-4)
    np.testing.assert_allclose(logits, net(plain, "levels", x), atol=1e-3)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("decoder", '{"kind": "three-nets", "feature": 16, "dim": 40}'),
        ("decoder", '{"kind": "one-net", "feature": 16, "dim": 41}'),
        ("decoder", '{"kind": "one-net", "feature": 16, "hidden": 8}'),
        ("asked", "nobody"),
    ],
)
def test_a_file_with_an_unknown_decoder_or_word_is_damaged(gaussians, tmp_path: Path, key: str, value: str):
    path = tmp_path / "field.safetensors"
    field_of(made("one-net"), gaussians, asked="pixels").save(path)
    save_file(load_file(path), path, metadata_of(path) | {key: value})
    with pytest.raises(WorkspaceError, match="gags distill"):
        LanguageField.load(path)


def test_there_is_no_fourth_kind():
    with pytest.raises(KeyError):
        decoder_of("three-nets", {})
    assert isinstance(made("one-net"), OneNet)
    assert isinstance(made("two-nets"), TwoNets)
