"""The demo takes small models that are the same everywhere, unless told otherwise."""

from pathlib import Path

import pytest

from gags import demo
from gags.pipeline import RunSettings
from gags.progress import Reporter


class StopError(Exception):
    pass


class Listener(Reporter):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


@pytest.mark.parametrize(
    ("chosen", "models"),
    [({}, ("mobile-sam", "lite")), ({"encoder": "owner/model"}, ("mobile-sam", "owner/model"))],
)
def test_which_models_the_demo_takes(chosen, models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    taken: list[RunSettings] = []

    def run(folder: Path, out: Path, settings: RunSettings, *, report: bool, progress: Reporter) -> None:
        taken.append(settings)
        raise StopError

    monkeypatch.setattr(demo, "run", run)
    listener = Listener()
    with pytest.raises(StopError):
        demo.demo(tmp_path, **chosen, progress=listener)
    assert (taken[0].segmenter, taken[0].encoder) == models
    assert len(listener.said) == 1
    assert all(name in listener.said[0] for name in models)
