"""A GPU that is not there: tensors "on cuda" are CPU tensors with a mark; to mix the two kinds is an error.

    with pretend_gpu() as work: …

finds what would break on a real GPU: arrays taken of tensors that lie there, operations on tensors of both
kinds, new tensors made on the wrong side. It counts what a GPU is asked to do (`Work`). It does not find what
only kernels decide: precision, or operations that CUDA lacks.
"""

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from gags.reconstruct import adam, quality, step
from gags.render import cpu, cuda, cuda_view
from gags.render.types import BlendWeights, Rendering
from tests.helpers.gsplat_twin import LAUNCHES, WAITS, Kernels, gsplat_on_cpu

GPU = torch.device("cuda")
KEPT_ON_DEVICE = (
    cuda_view._camera_tensors,
    adam._on_device,
    quality._taps,
    step._half_size,
    step._backgrounds,
)
# These make a view or a memory without content: no kernel.
FREE = frozenset(
    [
        "view",
        "_unsafe_view",
        "t",
        "transpose",
        "permute",
        "slice",
        "select",
        "unsqueeze",
        "squeeze",
        "expand",
        "detach",
        "alias",
        "as_strided",
        "unbind",
        "split",
        "split_with_sizes",
        "empty",
        "empty_like",
        "_reshape_alias",
        "diagonal",
        "empty_strided",
        "lift_fresh",
        "new_empty",
        "new_empty_strided",
        "is_same_size",
        "set_",
        "requires_grad_",
    ]
)
# These are two: one that fills memory with zeros, one that writes a part of it.
TWICE = frozenset(["select_backward", "slice_backward", "constant_pad_nd"])
# These need a number or a size from the GPU.
READING = frozenset(
    [
        "_local_scalar_dense",
        "nonzero",
        "_unique2",
        "unique_dim",
        "unique_consecutive",
        "masked_select",
        "bincount",
        "equal",
    ]
)
ASIDE = (torch.device, torch._C._nn._parse_to, torch._has_compatible_shallow_copy_type)  # move nothing
MADE_OF_NUMBERS = (torch.tensor, torch.as_tensor, Tensor.new_tensor)
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


class Work(TorchDispatchMode):
    """What a GPU is asked to do between two calls of `clear`.

    Attributes:
        launches: Kernels that were started, by operator; those of gsplat are in its own `calls`.
        waits: What makes the CPU wait until the GPU has done all that was asked of it so far, with the line
            of the package that asks: numbers, sizes or pictures read back; memory sent that is not pinned.
        sent: Pinned memory sent to the GPU, which nobody waits for.
        kernels: gsplat's.
    """

    def __init__(self, kernels: Kernels) -> None:
        super().__init__()
        self.kernels = kernels
        self.clear()

    def clear(self) -> None:
        """Begin to count anew."""
        self.launches, self.waits, self.sent = Counter(), Counter(), Counter()
        self.kernels.calls.clear()

    @property
    def launched(self) -> int:
        """Kernels that were started, gsplat's included."""
        own = sum(LAUNCHES[name] * count for name, count in self.kernels.calls.items())
        return own + self.launches.total()

    @property
    def waited(self) -> int:
        """How often the CPU waits for the GPU, in gsplat or outside."""
        return sum(self.kernels.calls[name] for name in WAITS) + self.waits.total()

    def wait(self, what: str) -> None:
        """Note that the CPU waits for something."""
        if not self.kernels.inside:
            self.waits[f"{what} {_asking_line()}"] += 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if not self.kernels.inside:
            if name not in FREE:
                self.launches[name] += 2 if name in TWICE else 1
            by_mask = name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
                index is not None and index.dtype == torch.bool for index in args[1]
            )
            sizes = name == "repeat_interleave" and "output_size" not in (kwargs or {})
            if name in READING or by_mask or sizes:
                self.wait(name)
        return func(*args, **(kwargs or {}))


def _asking_line() -> str:
    """The innermost line of the package that is being run, beside the function that sends."""
    ours = [f for f in traceback.extract_stack() if "/src/gags/" in f.filename and f.name != "to_device"]
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"


class _Mode(TorchFunctionMode):
    """Watches every operation on tensors."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.work = work

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
        if func is Tensor.pin_memory:  # needs a GPU that is there
            args[0].pinned = True
            return args[0]
        if func is Tensor.cpu:
            if marked(args[0]):
                self.work.wait("cpu")
            return mark(args[0].clone(), False) if marked(args[0]) else args[0]
        if func in MADE_OF_NUMBERS and (marked(args[0]) or "cuda" in str(kwargs.get("device"))):
            self._sends(args[0] if isinstance(args[0], Tensor) else None, kwargs)
        given = [*_tensors(args), *_tensors(list(kwargs.values()))]
        args, kwargs, gpu = _without_device(func, args, kwargs)
        if gpu is None:
            sides = {marked(tensor) for tensor in given if marked(tensor) or tensor.dim()}
            if len(sides) > 1:
                if func is not Tensor.copy_ and not (func in BY_ROWS and marked(given[0])):
                    raise RuntimeError(f"{func.__name__}: expected all tensors to be on the same device")
                sides = {marked(given[0])}
            return mark(func(*args, **kwargs), True in sides)
        if func is Tensor.to and marked(given[0]) != gpu:
            self._sends(given[0], kwargs) if gpu else self.work.wait("to")
        found = func(*args, **kwargs)
        same = any(found is tensor and marked(tensor) != gpu for tensor in given)
        return mark(found.clone() if same else found, gpu)

    def _sends(self, tensor: Tensor | None, kwargs: dict) -> None:
        """Note that memory is sent to the GPU."""
        if getattr(tensor, "pinned", False) and kwargs.get("non_blocking"):
            self.work.sent[_asking_line()] += 1
        else:
            self.work.wait("sends")


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


def _largest_weights(*args: Any, **kwargs: Any) -> Tensor:
    with torch._C.DisableTorchFunction():
        given = {name: _alias(value) for name, value in kwargs.items()}
        return mark(cpu.largest_weights(*map(_alias, args), **given))


def _keep_view(*args: Any, **kwargs: Any) -> Any:
    with torch._C.DisableTorchFunction():
        blended = cpu.keep_view(*map(_alias, args), **kwargs)

    def on_gpu(values: Tensor) -> Rendering:
        with torch._C.DisableTorchFunction():
            drawn = blended(_alias(values))
        mark([drawn.colors, drawn.depths, drawn.alphas, drawn.radii])
        return drawn

    return on_gpu


def _alias(value: Any) -> Any:
    return value.view_as(value) if isinstance(value, Tensor) else value


@contextmanager
def pretend_gpu(rasterizer: Literal["cpu", "gsplat", "none"] = "cpu") -> Iterator[Work]:
    """While it is entered, the device "cuda" can be used, and Gaussians there are rasterised.

    Args:
        rasterizer: What rasterises them: "cpu", the kernels for CPUs, or gsplat's own Python on the twin of
            its kernels, which is 100 times slower and takes the CUDA backend with everything in it. With
            "none", nothing does, and a package gsplat is left as it is.
    """
    make = Tensor._make_subclass

    def subclass(cls: Any, data: Tensor, requires_grad: bool = False, **kwargs: Any) -> Tensor:
        """How parameters are made; modes do not see it."""
        return mark(make(cls, data, requires_grad, **kwargs), marked(data))

    twin = nullcontext(Kernels()) if rasterizer == "none" else gsplat_on_cpu()
    with pytest.MonkeyPatch.context() as patch, twin as kernels:
        if rasterizer == "cpu":
            patch.setattr(cuda, "rasterize", _rasterize)
            patch.setattr(cuda, "blend_weights", _blend_weights)
            patch.setattr(cuda, "largest_weights", _largest_weights)
            patch.setattr(cuda, "keep_view", _keep_view)
        patch.setattr(Tensor, "_make_subclass", staticmethod(subclass))
        patch.setattr(torch.cuda, "mem_get_info", lambda device=None: (64 << 30, 80 << 30))
        work = Work(kernels)
        with work, _Mode(work):
            yield work
    for cached in KEPT_ON_DEVICE:  # a GPU that is there must not find what this one kept
        cached.cache_clear()
