"""Files of every format with bytes changed at random: Gaussians, or one line; in little time and memory."""

import json

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gaussians.test_gltf import parts_of, written
from tests.gaussians.test_ksplat import made_ksplat
from tests.gaussians.test_sog import made_sog, zipped
from tests.helpers.varied import varied

from gags.errors import SplatsError
from gags.gaussians.files import load_gaussians, save_gaussians

FORMATS = ("ply", "spz", "4.spz", "splat", "ksplat", "sog", "glb", "gltf")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """An undamaged file of each format."""
    folder, gaussians = tmp_path_factory.mktemp("whole"), varied(30, degree=1)
    for name in ("ply", "spz", "4.spz", "splat", "glb", "gltf"):
        save_gaussians(gaussians, folder / f"a.{name}", spz_version=4 if name[0] == "4" else 3)
    (folder / "a.ksplat").write_bytes(made_ksplat(gaussians, 1)[0])
    zipped(folder / "a.sog", made_sog(gaussians, 2))
    return {name: (folder / f"a.{name}").read_bytes() for name in FORMATS}


def read_or_refuse(path) -> None:
    try:
        gaussians = load_gaussians(path)
    except SplatsError as error:
        message = str(error)
    else:
        message = None
    if message is not None:
        assert str(path) in message
        assert "\n" not in message
        return
    assert 0 < len(gaussians) <= 100
    for values in vars(gaussians).values():
        assert torch.isfinite(values).all()


CHANGES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=60, deadline=5000, suppress_health_check=list(HealthCheck), derandomize=True)
@given(changes=CHANGES, head=st.booleans(), end=st.floats(0, 1))
def test_changed_bytes(whole, tmp_path_factory, name, changes, head, end):
    data = bytearray(whole[name])
    reach = 256 if head else len(data)  # sizes are claimed at the start
    for place, value in changes:
        data[min(int(place * reach), len(data) - 1)] = value
    if end > 0.7:
        del data[int(len(data) * (end - 0.7) / 0.3) :]
    path = tmp_path_factory.getbasetemp() / f"changed.{name}"
    path.write_bytes(data)
    read_or_refuse(path)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**12),
    st.floats(),
    st.text(max_size=4),
    st.just([]),
    st.just({}),
)


@pytest.mark.parametrize("name", ["sog", "glb"])
@settings(max_examples=80, deadline=5000, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_changed_json(whole, tmp_path_factory, name, data):
    """One value of the JSON inside replaced by another, of whatever type."""
    folder = tmp_path_factory.getbasetemp()
    path = folder / f"changed.{name}"
    if name == "sog":
        files = made_sog(varied(30, degree=1), 2)
        document = json.loads(files["meta.json"])
    else:
        path.write_bytes(whole["glb"])
        document, numbers = parts_of(path)
    places = [(table, key) for table in _tables(document) for key in _keys(table)]
    table, key = places[data.draw(st.integers(0, len(places) - 1))]
    table[key] = data.draw(VALUES)
    if name == "sog":
        zipped(path, files | {"meta.json": json.dumps(document).encode()})
    else:
        path.write_bytes(written(document, numbers))
    read_or_refuse(path)


def _tables(value) -> list:
    """Every object and list within a JSON value; of long lists of numbers, only themselves."""
    if not isinstance(value, dict | list):
        return []
    inner = value.values() if isinstance(value, dict) else value
    return [value, *(table for one in inner for table in _tables(one))]


def _keys(table) -> list:
    return list(table) if isinstance(table, dict) else list(range(min(len(table), 3)))


def test_one_array_shown_again_and_again_is_refused(tmp_path):
    """A small file may not ask for memory without end."""
    save_gaussians(varied(2000, degree=0), tmp_path / "a.glb")
    document, numbers = parts_of(tmp_path / "a.glb")
    document["nodes"] = [{"mesh": 0}] * 200
    document["scenes"] = [{"nodes": list(range(200))}]
    (tmp_path / "a.glb").write_bytes(written(document, numbers))
    with pytest.raises(SplatsError, match="too many for its size"):
        load_gaussians(tmp_path / "a.glb")


def test_random_bytes_are_no_format(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, 4321, np.uint8).tobytes()  # no multiple of 32
    for name in FORMATS:
        (tmp_path / f"a.{name}").write_bytes(noise)
        with pytest.raises(SplatsError, match=r"a\."):
            load_gaussians(tmp_path / f"a.{name}")
