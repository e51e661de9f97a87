"""Machine code on disk: loaded while what it was made of is the same, compiled anew when that changes."""

import importlib
import os
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from gags.simd.cache import fingerprint

HELPERS = """
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, register_jitable

@intrinsic
def three(context):
    def codegen(context, builder, signature, args):
        return ir.Constant(ir.DoubleType(), 3.0)
    return types.float64(), codegen

@register_jitable
def doubled(x):
    return 2.0 * x

@njit
def shifted(x):
    return doubled(x) + three()
"""
KERNELS = """
from gags.simd.cache import kernel
from PACKAGE import limits
from PACKAGE.helpers import shifted
from PACKAGE.limits import SCALE

@kernel()
def compute(x):
    return SCALE * shifted(x) - limits.OFFSET

@kernel()
def alone(x):
    return x + 1.0
"""
LIMITS = "SCALE = 10.0\nOFFSET = 1.0\nNOBODY_READS_THIS = 0\n"
NUMBERS = count()


class Package:
    """A small package on disk, imported anew whenever it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.name = f"kernels_to_cache_{next(NUMBERS)}"
        self.folder = folder / self.name
        self.folder.mkdir()
        files = {"__init__": "", "helpers": HELPERS, "limits": LIMITS, "kernels": KERNELS, "other": ""}
        for name, text in files.items():
            (self.folder / f"{name}.py").write_text(text.replace("PACKAGE", self.name))

    def change(self, name: str, old: str, new: str) -> None:
        path = self.folder / f"{name}.py"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def kernels(self) -> Any:
        """The module as a new process would import it."""
        for name in [name for name in sys.modules if name.partition(".")[0] == self.name]:
            del sys.modules[name]
        importlib.invalidate_caches()
        return importlib.import_module(f"{self.name}.kernels")


@pytest.fixture
def package(tmp_path, monkeypatch) -> Package:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a file changed twice a second looks the same
    return Package(tmp_path)


def called(function: Any) -> tuple[float, bool]:
    """What a kernel gives for 1, and whether its machine code came from the disk."""
    value = function(1.0)
    hits, misses = (sum(found.values()) for found in function.stats[1:])
    assert hits + misses == 1
    return value, hits == 1


def test_unchanged_kernels_are_loaded(package):
    assert called(package.kernels().compute) == (49.0, False)
    assert called(package.kernels().compute) == (49.0, True)


@pytest.mark.parametrize(
    ("file", "old", "new", "value"),
    [
        ("kernels", "- limits", "+ limits", 51.0),
        ("helpers", "doubled(x) +", "doubled(x) -", -11.0),  # a compiled helper
        ("helpers", "2.0 * x", "4.0 * x", 69.0),  # a helper of the helper
        ("helpers", "DoubleType(), 3.0", "DoubleType(), 5.0", 69.0),  # an intrinsic
        ("limits", "10.0", "20.0", 99.0),  # a constant
        ("limits", "OFFSET = 1.0", "OFFSET = 2.0", 48.0),  # a constant by its module
    ],
)
def test_a_changed_ingredient_is_compiled_in(package, file, old, new, value):
    called(package.kernels().compute)
    package.change(file, old, new)
    assert called(package.kernels().compute) == (value, False)
    assert called(package.kernels().compute) == (value, True)


def test_what_a_kernel_does_not_use_does_not_count(package):
    kernels = package.kernels()
    called(kernels.compute)
    called(kernels.alone)
    package.change("helpers", "2.0 * x", "4.0 * x")
    assert called(package.kernels().alone) == (2.0, True)
    called(package.kernels().compute)
    package.change("limits", "READS_THIS = 0", "READS_THIS = 1")
    (package.folder / "other.py").write_text("ANOTHER = 1\n")
    assert called(package.kernels().compute) == (69.0, True)


def test_the_hash_is_taken_at_the_first_call_and_not_at_import(package, monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr(
        "gags.simd.cache.fingerprint", lambda function: asked.append(function.__name__) or "same"
    )
    kernels = package.kernels()
    assert asked == []
    kernels.compute(1.0)
    kernels.compute(2)  # another type: compiled, but the hash is known
    assert asked == ["compute"]


def test_where_the_folder_of_the_source_cannot_be_written(package, tmp_path, monkeypatch):
    """As in an installation of another user: Numba takes the user's cache folder."""
    (package.folder / "__pycache__").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert called(package.kernels().compute) == (49.0, False)
    assert called(package.kernels().compute) == (49.0, True)
    assert list((tmp_path / "home").rglob("*.nbc"))
    package.change("helpers", "2.0 * x", "4.0 * x")
    assert called(package.kernels().compute) == (69.0, False)


def test_where_nothing_can_be_written(package, tmp_path, monkeypatch):
    (package.folder / "__pycache__").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(package.folder / "__pycache__"))
    with pytest.warns(UserWarning, match="set NUMBA_CACHE_DIR to a folder that can be written"):
        kernels = package.kernels()
    assert kernels.compute(1.0) == 49.0


def test_fingerprints_of_the_package():
    """Those of the rasteriser cover the vectors and the limits that all backends share."""
    from gags.render.kernels import blend, tiles, weights
    from gags.simd import vectors

    before, before_weigh = fingerprint(blend.blend), fingerprint(weights.weigh)
    assert before == fingerprint(blend.blend)
    assert before != fingerprint(tiles._fill)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blend, "_NUMBERS", (*blend._NUMBERS[:2], 2e-4, *blend._NUMBERS[3:]))
        assert fingerprint(blend.blend) != before
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors, "EXP2_NUMBERS", (1.0,) * 7)  # inside the LLVM code that an intrinsic writes
        assert fingerprint(weights.weigh) != before_weigh
    assert fingerprint(blend.blend) == before


def test_parallel_kernels_wait_for_each_other_where_numba_has_no_openmp():
    """As on macOS: two at once would end the process."""
    code = """
import threading
import numba
import numpy as np
from gags.segment.suppress import measure
from gags.things.things import Things
logits = np.random.default_rng(0).normal(size=(20, 100, 100)).astype(np.float32)
things = Things.build(np.arange(5000), np.arange(5000) // 50, [np.arange(3)] * 100)
values, weights = np.random.default_rng(1).normal(size=(5000, 3)), np.ones(5000)
wanted = measure(logits, 1.0)[0], things.means(values, weights)
assert numba.threading_layer() == "workqueue"
found = []
def work():
    for _ in range(100):
        found.append((measure(logits, 1.0)[0], things.means(values, weights)))
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert len(found) == 400
assert all((a == wanted[0]).all() and (b == wanted[1]).all() for a, b in found)
"""
    settings = os.environ | {"NUMBA_THREADING_LAYER": "workqueue", "NUMBA_NUM_THREADS": "2"}
    ended = subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
