"""What "auto" chooses, and what it says about it."""

import pytest
import torch
from tests.helpers.heard import Heard

from gags import models
from gags.errors import ModelError
from gags.models import choose, hub
from gags.models.choose import choose_encoder, choose_segmenter
from gags.models.hub import HubError
from gags.models.known import PAPER_ENCODER, PAPER_SEGMENTER


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of the models that are available."""
    names = {"mobile-sam", "lite"}

    def ensure(name: str, progress: object) -> None:
        if name not in names:
            raise HubError(name, "nothing answers") if "/" in name else ModelError(f"no {name}")

    monkeypatch.setattr(models, "ensure", ensure)
    monkeypatch.setattr(hub, "canonical", lambda name: f"{name}@commit")
    return names


def on(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setattr(choose, "neural_device", lambda: torch.device(device))


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_without_an_nvidia_gpu_mobile_sam_cuts(
    here: set[str], monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    on(monkeypatch, device)
    here.add(PAPER_SEGMENTER)
    listener = Heard()
    assert choose_segmenter(progress=listener) == "mobile-sam"
    assert listener.said == [
        "Segmenter: mobile-sam, since there is no NVIDIA GPU (--segmenter chooses another)"
    ]


def test_on_a_gpu_the_paper_s_segmenter_cuts(here: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "cuda")
    here.add(PAPER_SEGMENTER)
    listener = Heard()
    assert choose_segmenter(progress=listener) == f"{PAPER_SEGMENTER}@commit"
    assert listener.said == [f"Segmenter: {PAPER_SEGMENTER}@commit (--segmenter chooses another)"]


def test_on_a_gpu_without_a_hub_mobile_sam_cuts(here: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "cuda")
    listener = Heard()
    assert choose_segmenter(progress=listener) == "mobile-sam"
    assert f"{PAPER_SEGMENTER} is not on this machine, and nothing answers" in listener.said[0]


def test_the_paper_s_encoder_wherever_it_is_available(here: set[str]) -> None:
    listener = Heard()
    assert choose_encoder(progress=listener) == "lite"
    assert listener.said == [
        f"Encoder: lite; {PAPER_ENCODER} is not on this machine, and nothing answers "
        "(--encoder chooses another)"
    ]
    here.add(PAPER_ENCODER)
    assert choose_encoder() == f"{PAPER_ENCODER}@commit"


def test_a_scene_keeps_what_it_was_made_with(here: set[str]) -> None:
    here.add(PAPER_ENCODER)
    listener = Heard()
    assert choose_encoder(before="lite", progress=listener) == "lite"
    assert choose_segmenter(before="mobile-sam", progress=listener) == "mobile-sam"
    assert listener.said == []
    assert choose_encoder(before="gone/model", progress=listener) == f"{PAPER_ENCODER}@commit"
    assert "no longer available" in listener.warned[0]


def test_a_named_model_is_taken_or_fails(here: set[str]) -> None:
    here |= {"owner/model", PAPER_ENCODER}
    assert choose_encoder("owner/model", before="lite") == "owner/model@commit"
    assert choose_encoder("lite") == "lite"
    with pytest.raises(HubError):
        choose_encoder("owner/missing")


def test_a_model_of_the_other_kind_is_refused_at_once(here: set[str]) -> None:
    here |= {PAPER_ENCODER, PAPER_SEGMENTER}
    with pytest.raises(
        ModelError, match="mobile-sam is no encoder but a segmenter; encoders are: lite, and CLIP"
    ):
        choose_encoder("mobile-sam")
    with pytest.raises(
        ModelError, match="is no segmenter but an encoder; segmenters are: mobile-sam, and SAM"
    ):
        choose_segmenter(PAPER_ENCODER)


def test_without_any_encoder_the_last_resort_s_error_is_told(here: set[str]) -> None:
    here.clear()
    with pytest.raises(ModelError, match="no lite"):
        choose_encoder()
