"""GOI's hyperplane: its constants, a step by hand against autograd, when it stops."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from gags.compare import hyperplane as module
from gags.compare.hyperplane import Hyperplane, calibrated_start, fit, published_start


def _codes(count=40, dim=16, offset=0.0):
    codes = torch.randn(count, dim, generator=torch.Generator().manual_seed(0))
    codes[:, 0] += offset
    return normalize(codes, dim=1)


def test_the_start_has_the_published_constants():
    plane = published_start(torch.tensor([1.0, 0.0]))
    found = plane.scores(torch.tensor([[0.5, 0.3], [-0.0636, 0.0]]))
    assert found[0].item() == pytest.approx(0.5 / 0.3438 + 2 - math.log(0.86 / 0.14))
    # sigmoid(score) is above a half where the cosine is above (logit(0.86) − 2) · 0.3438 = −0.0636.
    assert found[1].item() == pytest.approx(0.0, abs=1e-3)
    assert (module.RATE, module.MOST_STEPS, module.ENOUGH_IOU) == (0.01, 8000, 0.9)


def test_with_embeddings_as_clips_the_published_start_selects_all_and_a_calibrated_one_little():
    """CLIP's embeddings share an offset: all cosines with texts are positive, and hardly differ."""
    codes, text = _codes(300, 64, 9.0), _codes(300, 64, 9.0)[7]
    phrases = normalize(codes[50:54] + 0.1, dim=1)
    assert (codes @ text).min() > 0
    assert (published_start(text).scores(codes) > 0).all()
    calibrated = calibrated_start(text, codes, phrases)
    assert 0 < (calibrated.scores(codes) > 0).sum() < 15
    cosines = (codes @ phrases.T).double()
    edge = float(cosines.mean() + 2 * cosines.std(correction=0))
    assert torch.equal(calibrated.scores(codes) > 0, codes @ text > edge)


def test_one_step_is_that_of_gradient_descent_on_the_hinge_loss(monkeypatch):
    monkeypatch.setattr(module, "MOST_STEPS", 1)
    codes = _codes()
    inside, outside = (torch.randint(0, 9, (40,), generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    start = published_start(codes[3])
    w, b = start.weights.clone().requires_grad_(), torch.tensor(start.bias, requires_grad=True)
    scores = codes @ w / 0.3438 + b
    loss = inside * (1 - scores).clamp(min=0) + outside * (1 + scores).clamp(min=0)
    (loss.sum() / (inside + outside).sum()).backward()
    fitted = fit(start, codes, inside, outside)
    torch.testing.assert_close(fitted.weights, start.weights - 0.01 * w.grad, atol=1e-6, rtol=0)
    assert fitted.bias == pytest.approx(start.bias - 0.01 * b.grad.item(), abs=1e-6)


def test_it_stops_as_soon_as_the_mask_is_met():
    codes = torch.eye(4)
    start = Hyperplane(torch.tensor([1.0, 1, -1, -1]), 0.0, 1.0)
    # Selected: codes 0 and 1. With 9 of 10 pixels right it is good enough, with 8 of 10 it is not.
    good = fit(start, codes, torch.tensor([9, 0, 0, 0]), torch.tensor([0, 1, 50, 50]))
    assert torch.equal(good.weights, start.weights)
    assert good.bias == 0
    better = fit(start, codes, torch.tensor([8, 0, 0, 0]), torch.tensor([0, 2, 50, 50]))
    assert (better.scores(codes) > 0).tolist() == [True, False, False, False]


def test_codes_of_a_mask_are_learnt_from_a_start_that_selects_all():
    codes = _codes(60, 32, offset=6.0)
    inside, outside = torch.zeros(60), torch.full((60,), 10.0)
    inside[[4, 9, 20]], outside[[4, 9, 20]] = 30.0, 0.0
    start = published_start(codes[4])
    assert (start.scores(codes) > 0).float().mean() > 0.9
    fitted = fit(start, codes, inside, outside)
    selected = fitted.scores(codes) > 0
    iou = inside[selected].sum() / (inside.sum() + outside[selected].sum())
    assert iou >= 0.9


def test_codes_that_the_view_does_not_show_change_nothing():
    codes = _codes()
    inside, outside = torch.zeros(40), torch.zeros(40)
    inside[0], outside[1:20] = 5, 5
    seen = fit(published_start(codes[0]), codes, inside, outside)
    alone = fit(published_start(codes[0]), codes[:20], inside[:20], outside[:20])
    torch.testing.assert_close(seen.weights, alone.weights)
