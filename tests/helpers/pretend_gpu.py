"""A GPU that is not there: tensors "on cuda" are CPU tensors with a mark; to mix the two kinds is an error.

    with pretend_gpu(): …

finds what would break on a real GPU: arrays taken of tensors that lie there, operations on tensors of both
kinds, new tensors made on the wrong side. It does not find what only kernels decide: precision, or operations
that CUDA lacks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gags.render import cpu, cuda
from gags.render.types import BlendWeights, Rendering

GPU = torch.device("cuda")
ASIDE = (torch.device, torch._C._nn._parse_to, torch._has_compatible_shallow_copy_type)  # move nothing
BY_ROWS = (Tensor.__getitem__, Tensor.__setitem__)  # the CPU may say which rows of a GPU


def marked(tensor: Tensor) -> bool:
    """Whether a tensor pretends to be on the GPU."""
    return getattr(tensor, "pretends", False)


def mark(value: Any, gpu: bool = True) -> Any:
    """Put tensors, and those in tuples and lists, on the GPU that is not there, or take them off it."""
    for tensor in _tensors(value):
        tensor.pretends = gpu  # type: ignore[attr-defined]
    return value


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, tuple | list):
        for value in values:
            yield from _tensors(value)


class _Mode(TorchFunctionMode):
    """Watches every operation on tensors."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in ASIDE:
            return func(*args, **kwargs)
        if func == Tensor.device.__get__:
            return GPU if marked(args[0]) else func(*args)
        if func == Tensor.data.__set__:
            mark(args[0], marked(args[1]))
            return func(*args)
        if func is Tensor.numpy and marked(args[0]):
            raise TypeError("can't convert cuda tensor to numpy; use .cpu() first")
        if func is Tensor.cpu:
            return mark(args[0].clone(), False) if marked(args[0]) else args[0]
        given = [*_tensors(args), *_tensors(list(kwargs.values()))]
        args, kwargs, gpu = _without_device(func, args, kwargs)
        if gpu is None:
            sides = {marked(tensor) for tensor in given if marked(tensor) or tensor.dim()}
            if len(sides) > 1:
                if func is not Tensor.copy_ and not (func in BY_ROWS and marked(given[0])):
                    raise RuntimeError(f"{func.__name__}: expected all tensors to be on the same device")
                sides = {marked(given[0])}
            return mark(func(*args, **kwargs), True in sides)
        found = func(*args, **kwargs)
        same = any(found is tensor and marked(tensor) != gpu for tensor in given)
        return mark(found.clone() if same else found, gpu)


def _without_device(func: Any, args: tuple, kwargs: dict) -> tuple[tuple, dict, bool | None]:
    """A call without the device it names, and whether that is the GPU; None if it names none."""
    named = [value for value in [*args, *kwargs.values()] if isinstance(value, torch.device)]
    if func is Tensor.to:
        named += [value for value in args[1:] if isinstance(value, str)]
        named += [GPU if marked(value) else "cpu" for value in _tensors(args[1:])]
    elif isinstance(kwargs.get("device"), str):
        named.append(kwargs["device"])
    if not named:
        return args, kwargs, None
    here = torch.device("cpu")
    args = tuple(here if isinstance(v, torch.device | str) and v in named else v for v in args)
    kwargs = kwargs | ({"device": here} if "device" in kwargs else {})
    return args, kwargs, torch.device(named[0]).type == "cuda"


def _rasterize(*args: Any, **kwargs: Any) -> Rendering:
    """The CPU in the place of gsplat; kernels get and give aliases, which carry no marks."""
    with torch._C.DisableTorchFunction():
        drawn = cpu.rasterize(*map(_alias, args), **{name: _alias(value) for name, value in kwargs.items()})
        drawn = Rendering(*(_alias(getattr(drawn, name)) for name in ("colors", "depths", "alphas", "radii")))
    mark([drawn.colors, drawn.depths, drawn.alphas, drawn.radii])
    return drawn


def _blend_weights(*args: Any, **kwargs: Any) -> BlendWeights:
    with torch._C.DisableTorchFunction():
        found = cpu.blend_weights(*map(_alias, args), **{name: _alias(v) for name, v in kwargs.items()})
    mark([found.indices, found.weights, found.alphas])
    return found


def _alias(value: Any) -> Any:
    return value.view_as(value) if isinstance(value, Tensor) else value


@contextmanager
def pretend_gpu() -> Iterator[None]:
    """While it is entered, the device "cuda" can be used, and Gaussians there are rasterised."""
    make = Tensor._make_subclass

    def subclass(cls: Any, data: Tensor, requires_grad: bool = False, **kwargs: Any) -> Tensor:
        """How parameters are made; modes do not see it."""
        return mark(make(cls, data, requires_grad, **kwargs), marked(data))

    with pytest.MonkeyPatch.context() as patch, _Mode():
        patch.setattr(cuda, "rasterize", _rasterize)
        patch.setattr(cuda, "blend_weights", _blend_weights)
        patch.setattr(Tensor, "_make_subclass", staticmethod(subclass))
        yield
