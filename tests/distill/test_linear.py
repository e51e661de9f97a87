"""Linear layers by oneDNN against PyTorch's own, and where there is none."""

import pytest
import torch
from torch import Tensor, nn

from gags.distill import linear as linear_module
from gags.distill.linear import Linear, linear


@pytest.fixture(params=["oneDNN", "PyTorch"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "PyTorch":
        monkeypatch.setattr(linear_module, "_product", None)
    elif linear_module._product is None:
        pytest.skip("this PyTorch has no oneDNN")
    return request.param


def gradients(layer: nn.Linear, x: Tensor, *, leave: str = "") -> list[Tensor | None]:
    """Output, and gradients of a sum of its squares at x, weight and bias; one of them may stay without."""
    learnt = {"x": x.clone(), "weight": layer.weight, "bias": layer.bias}
    for name, tensor in learnt.items():
        tensor.requires_grad_(name != leave)
        tensor.grad = None
    out = layer(learnt["x"])
    out.square().sum().backward()
    return [out.detach(), *(tensor.grad for tensor in learnt.values())]


def layers() -> tuple[Linear, nn.Linear]:
    torch.manual_seed(0)
    ours, plain = Linear(24, 17), nn.Linear(24, 17)
    plain.load_state_dict(ours.state_dict())
    return ours, plain


@pytest.mark.parametrize("shape", [(50, 24), (3, 5, 24), (24,), (0, 24)])
def test_outputs_and_gradients_are_those_of_pytorch(way: str, shape: tuple[int, ...]):
    ours, plain = layers()
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    for found, expected in zip(gradients(ours, x), gradients(plain, x), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), plain(x), atol=1e-5, rtol=1e-5)
    assert not ours.requires_grad_(False)(x).requires_grad


@pytest.mark.parametrize("leave", ["x", "weight", "bias"])
def test_what_needs_no_gradient_gets_none(way: str, leave: str):
    ours, plain = layers()
    x = torch.randn(9, 24, generator=torch.Generator().manual_seed(1))
    found, expected = gradients(ours, x, leave=leave), gradients(plain, x, leave=leave)
    assert [g is None for g in found] == [g is None for g in expected]
    assert [g is None for g in found].count(True) == 1
    for a, b in zip(found, expected, strict=True):
        if a is not None:
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-5)


def test_parts_of_a_weight_will_do(way: str):
    """As one net takes the rows of its logits alone."""
    ours, _ = layers()
    x = torch.randn(9, 24)
    part = linear(x, ours.weight[14:], ours.bias[14:])
    torch.testing.assert_close(part, ours(x)[:, 14:], atol=1e-5, rtol=1e-5)
    part.sum().backward()
    assert ours.weight.grad is not None
    assert ours.weight.grad[:14].abs().max() == 0
    torch.testing.assert_close(ours.weight.grad[14:], x.sum(0).expand(3, 24), atol=1e-4, rtol=1e-5)


def test_other_types_of_numbers_go_pytorchs_way():
    ours, _ = layers()
    x = torch.randn(9, 24)
    torch.testing.assert_close(
        ours.double()(x.double()).float(), nn.functional.linear(x, *(p.float() for p in ours.parameters()))
    )
