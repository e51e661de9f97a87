"""A whole run with its Gaussians on a GPU that is not there: nothing is mixed, and answers are the same."""

import numpy as np
import pytest
import torch

from gags import models, pipeline, scene
from gags.distill.settings import DistillSettings
from gags.pipeline import RunSettings
from gags.query.maps import Renderer, render_values
from gags.reconstruct import adam, photos
from gags.reconstruct.settings import ReconstructSettings
from gags.report.pages import write_scene_report
from gags.scene import Scene
from gags.segment.settings import DescribeSettings
from gags.viewer.scene import ViewerScene
from tests.helpers.blobs import make_scene
from tests.helpers.pretend_gpu import GPU, marked, pretend_gpu
from tests.helpers.toy_capture import ColorEncoder, ColorSegmenter, write_capture

SETTINGS = RunSettings(
    ReconstructSettings(steps=40, fill_holes_at=10, densify_from=10, densify_every=10),
    DescribeSettings(min_area=6, prompts_per_patch=1),
    DistillSettings(steps=40),
    segmenter="mobile-sam",
    encoder="lite",
)


def test_what_it_finds() -> None:
    with pretend_gpu():
        there = torch.ones(3, device="cuda")
        assert there.device == GPU
        assert not marked(there.cpu())
        assert marked((2 * there)[:2].to(torch.float64))
        assert there.cpu().numpy().sum() == 3
        with pytest.raises(TypeError, match="to numpy"):
            there.numpy()
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(3)
        with pytest.raises(RuntimeError, match="same device"):
            torch.ones(3)[there.long()]
        assert marked(there[torch.tensor([0, 2])])


def _run(capture, out, monkeypatch: pytest.MonkeyPatch, where: str) -> Scene:
    for module in (pipeline, scene):
        monkeypatch.setattr(module, "scene_device", lambda progress=None: torch.device(where))
        monkeypatch.setattr(module, "load_encoder", lambda name, progress=None: ColorEncoder())
    monkeypatch.setattr(pipeline, "load_segmenter", lambda name, progress=None: ColorSegmenter())
    monkeypatch.setattr(models, "ensure", lambda name, progress=None: None)
    monkeypatch.setattr(photos, "free_bytes", lambda device: 1 << 30)
    return pipeline.run(capture, out, SETTINGS)


def _agree(made: Scene, plain: Scene) -> None:
    """Two scenes of one capture answer alike."""
    asked = ["red ball", "green ball"]
    found = made.query(asked, "view_00.png")
    for answer, other in zip(found, plain.query(asked, "view_00.png"), strict=True):
        assert np.hypot(*np.subtract(answer.peak, other.peak)) < 20
        assert np.mean(answer.mask != other.mask) < 0.02
    (instance,), (other,) = made.locate("red ball")[0], plain.locate("red ball")[0]
    assert instance.score == pytest.approx(other.score, abs=0.05)
    best = [scene.best_views(scene.queries("red ball"), 1)[0][0] for scene in (made, plain)]
    assert best[0].name in [view.name for view in plain.best_views(plain.queries("red ball"), 3)[0]]


def test_a_run_is_the_same_on_a_pretended_gpu(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    capture = write_capture(tmp_path / "capture", views=8)
    plain = _run(capture, tmp_path / "cpu", monkeypatch, "cpu")
    steps: list[int] = []
    adam_step = adam.adam_step_cuda
    monkeypatch.setattr(adam, "adam_step_cuda", lambda *a: steps.append(a[-1]) or adam_step(*a))
    with pretend_gpu():
        made = _run(capture, tmp_path / "gpu", monkeypatch, "cuda")
        assert max(steps) == SETTINGS.reconstruct.steps - 1  # trained there, too
        assert marked(made.gaussians.means)
        assert marked(made.field.features)
        _agree(made, plain)
        assert write_scene_report(made, ["red ball"]).is_file()
        words = ["red ball", "green ball"]
        # The same names; the order is that of sizes, and two of the balls are about as large.
        named = [sorted(entry.name for entry in scene.catalog(words)) for scene in (made, plain)]
        assert named[0] == named[1]
        shown = ViewerScene(made, words)
        answer = shown.ask("red ball")
        assert answer.score == pytest.approx(ViewerScene(plain).ask("red ball").score, abs=0.05)
        assert len(made.extract("red ball", tmp_path / "ball.spz"))


def test_a_second_text_in_a_view_projects_nothing() -> None:
    scene = make_scene(2)
    values, other = torch.rand(2, len(scene.gaussians), 1)
    expected = render_values(scene.gaussians, other, scene.cameras[1])
    with pretend_gpu("gsplat") as work:
        renderer = Renderer(scene.gaussians.to("cuda"))
        render_values(renderer.gaussians, values.to("cuda"), scene.cameras[1], renderer=renderer)
        assert work.kernels.calls["projection_ewa_3dgs_fused_fwd"] == 1
        asked = other.to("cuda")
        work.clear()
        found = render_values(renderer.gaussians, asked, scene.cameras[1], renderer=renderer)
        assert set(work.kernels.calls) == {"rasterize_to_pixels_3dgs_fwd"}
        assert work.waited == 0, work.waits
        assert work.launched < 15, work.launches
        maps = found.values.cpu()
    assert torch.allclose(maps, expected.values, atol=1e-3)


@pytest.mark.gpu
def test_a_run_is_the_same_on_a_real_gpu(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    capture = write_capture(tmp_path / "capture")
    plain = _run(capture, tmp_path / "cpu", monkeypatch, "cpu")
    made = _run(capture, tmp_path / "gpu", monkeypatch, "cuda")
    assert made.gaussians.means.is_cuda
    _agree(made, plain)
