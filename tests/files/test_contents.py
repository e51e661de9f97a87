import zlib

import numpy as np
import pytest
import torch

from gags.files.contents import DESCRIPTION, FIELD, THINGS, check_contents, checksum, is_finite


def test_checksum_is_the_crc_of_names_types_shapes_and_bytes_in_order_of_names():
    tensors = {"b": np.array([[1, 2], [3, 4]], np.int16), "a": np.array([0.5], np.float32)}
    said = b"a\0<f4\0(1,)\0" + b"\x00\x00\x00\x3f" + b"b\0<i2\0(2, 2)\0" + b"\1\0\2\0\3\0\4\0"
    assert checksum(tensors) == f"crc32:{zlib.crc32(said):08x}"
    as_torch = {name: torch.from_numpy(array) for name, array in reversed(tensors.items())}
    assert checksum(as_torch) == checksum(tensors)


def test_checksum_follows_everything():
    first = {"a": np.zeros((2, 3), np.float32)}
    others = [
        {"b": first["a"]},
        {"a": first["a"].reshape(3, 2)},
        {"a": first["a"].view(np.int32)},
        {"a": np.float32([[0, 0, 0], [0, 0, 1e-45]])},
        {"a": torch.zeros(2, 3, dtype=torch.bfloat16)},
    ]
    assert len({checksum(first), *map(checksum, others)}) == 6


def test_checksum_of_what_is_not_in_one_piece():
    whole = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert checksum({"a": whole[:, ::2]}) == checksum({"a": whole[:, ::2].copy()})
    assert checksum({"a": np.zeros((0, 4), np.int8)}) != checksum({"a": np.zeros((0, 3), np.int8)})


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, None])
def test_is_finite_agrees_with_numpy(dtype, odd):
    values = np.random.default_rng(0).normal(size=3_000_000).astype(dtype)
    values[7] = np.finfo(dtype).max  # its square is infinite
    if odd is not None:
        values[2_999_999] = odd
    assert is_finite(values) == bool(np.isfinite(values).all()) == (odd is None)


def description(masks: int = 2) -> dict[str, np.ndarray]:
    labels = np.full((3, 4, 5), -1, np.int16)
    labels[0, 0, :masks] = np.arange(masks)
    return {
        "labels": labels,
        "levels": np.zeros(masks, np.int8),
        "boxes": np.zeros((masks, 4), np.int32),
        "scores": np.ones(masks, np.float32),
        "embeddings": np.eye(masks, 3, dtype=np.float16),
        "prompts": np.zeros((7, 2), np.float32),
    }


@pytest.mark.parametrize("masks", [0, 1, 3])
def test_right_descriptions_pass(masks):
    check_contents(description(masks), DESCRIPTION)
    check_contents({"features": torch.zeros(4, 16).half(), "decoder.x": torch.ones(3)}, FIELD)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("labels", None, "no tensor 'labels'"),
        ("labels", np.zeros((4, 5), np.int16), r"labels has the shape \[4, 5\], not \[3, H, W\]"),
        ("labels", np.full((3, 4, 5), 2, np.int16), "labels holds 2, which must be below 2"),
        ("labels", np.full((3, 4, 5), -2, np.int16), "labels holds -2, below -1"),
        ("levels", np.zeros(3, np.int8), r"boxes has the shape \[2, 4\], not \[M, 4\], .*M = 3"),
        ("levels", np.array([0, 3], np.int8), "levels holds 3"),
        ("levels", np.zeros(2, np.int64), "levels is int64, not int8"),
        ("boxes", np.zeros((2, 5), np.int32), r"\[2, 5\], not \[M, 4\]"),
        ("scores", np.array([1, np.nan], np.float32), "scores holds values that are not finite"),
        ("embeddings", np.full((2, 3), np.inf, np.float16), "embeddings holds values that are not finite"),
        ("embeddings", np.full((2, 3), 9, np.float16), "embeddings holds 9.0"),
        ("embeddings", np.zeros((1, 3), np.float16), "embeddings has the shape"),
    ],
)
def test_wrong_descriptions_are_told(name, value, said):
    tensors = description() | {name: value}
    if value is None:
        del tensors[name]
    with pytest.raises(ValueError, match=said):
        check_contents(tensors, DESCRIPTION)


def test_sizes_with_one_more():
    none = np.zeros(0, np.int32)
    things = {"starts": np.zeros(1, np.int64), "members": none, "parents": none, "photos": none}
    things |= {"seen_by": none, "levels": none.astype(np.float32), "embeddings": np.zeros((0, 0), np.float16)}
    check_contents(things, THINGS)
    with pytest.raises(ValueError, match=r"parents has the shape \[0\], not \[C\], C = 1"):
        check_contents(things | {"starts": np.zeros(2, np.int64)}, THINGS)
