"""What `import gags` offers: one list of names, rooms that can be called, nothing heavy loaded."""

import ast
import copy
import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import gags

SOURCE = Path(gags.__file__).read_text(encoding="utf-8")


def test_the_lists_of_public_names_agree():
    checked = next(node for node in ast.parse(SOURCE).body if isinstance(node, ast.If))
    imported = {
        alias.name: node.module
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == gags._WHERE
    assert set(gags.__all__) == {"__version__", *imported}
    assert gags.__all__[1:] == sorted(gags.__all__[1:])


@pytest.mark.parametrize("name", gags.__all__)
def test_every_public_name_is_there_and_explains_itself(name):
    value = getattr(gags, name)
    assert name in dir(gags)
    if name != "__version__":
        assert (value.__doc__ or "").strip()


@pytest.mark.parametrize("name", gags._CALLABLE_ROOMS)
def test_a_room_is_called_like_the_function_it_shares_its_name_with(name):
    room = getattr(gags, name)
    function = room.__wrapped__
    assert inspect.isfunction(function)
    assert inspect.signature(room) == inspect.signature(function)
    with pytest.raises(TypeError, match=rf"{name}\(\)"):
        room(no_such_argument=1)


def test_a_room_can_be_sent_to_another_process():
    assert pickle.loads(pickle.dumps(gags.distill)) is gags.distill
    assert copy.deepcopy(gags.evaluate) is gags.evaluate


def test_modules_of_a_callable_room_are_imported_as_always():
    from gags.distill import settings

    assert settings.DistillSettings is gags.DistillSettings
    assert gags.distill.settings is settings


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'frobnicate'"):
        gags.frobnicate  # noqa: B018


def test_importing_gags_loads_nothing_heavy():
    heavy = {"torch", "numba", "cv2", "numpy", "transformers"}
    code = f"import gags, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
