"""Load gsplat's kernels, once a process, and remember where they do not work.

At first use they are compiled, which takes minutes and prints what compilers print; here that goes to stderr,
because stdout may carry a command's JSON. One process at a time does so. A build that failed is not tried
again by the commands that follow, unless something it depends on has changed; `gags doctor` always tries.
"""

import contextlib
import functools
import hashlib
import importlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from gags.files import read_table, write_json
from gags.files.locks import locked_in_turn
from gags.files.memory import available_bytes
from gags.models.cuda import CudaFacts, build_path
from gags.models.own import cache_folder
from gags.progress import SILENT, Reporter
from gags.threads import usable_cores

BYTES_A_JOB = 3e9
"""Memory that nvcc takes for the largest of gsplat's files, rounded up; as many jobs run as fit."""

LONGEST_REASON = 300  # characters of a compiler's line

_CAUSE = re.compile(r"\berror\b|fatal|unsupported|no such file|not found|kill|cannot|undefined symbol", re.I)
_NO_CAUSE = re.compile(
    r"^(Error building extension|ninja: build stopped|FAILED:|\[\d+/\d+\])| -c .* -o ", re.I
)
_PASSING = re.compile(
    r"kill|interrupted|out of memory|(can ?not|can't) allocate memory|memory exhausted|bad_alloc"
    r"|no space left|quota exceeded|temporarily unavailable"
    r"|CUDA (unknown )?error|initialization error|cudaGetDeviceCount|no CUDA GPUs",
    re.I,
)
_BACKEND = "gsplat.cuda._backend"  # gsplat compiles its kernels when this is imported


def kernels_problem(facts: CudaFacts, progress: Reporter = SILENT, *, again: bool = False) -> str:
    """Why gsplat's kernels do not work here; empty if they do. They are loaded, and compiled if need be.

    Args:
        facts: This machine, on which `cuda_problem` found nothing.
        progress: Told before kernels are compiled.
        again: Try even where an earlier process failed on the same machine.
    """
    if _load.cache_info().currsize:
        return _load().problem
    with contextlib.nullcontext() if facts.compiled else _build_lock(progress):
        known = {} if again else read_table(_record())
        if known.get("machine") == _machine(facts):
            return f"{known.get('problem')} (as found before; `gags doctor` tries again)"
        if not facts.compiled and not _built_before():
            jobs = os.environ.get("MAX_JOBS") or build_jobs()
            progress.say(f"Compiling gsplat's kernels, {jobs} files at a time: minutes, but only once")
        loaded = _load()
        _remember(facts, loaded)
    return loaded.problem


def load_backend() -> Any:
    """gsplat's module that holds its kernels, compiled if need be; for those who did not look for a problem.

    Raises:
        Exception: Whatever gsplat, the compiler or the linker raises.
    """
    if _BACKEND in sys.modules:  # or another thread is importing it, and is waited for
        return importlib.import_module(_BACKEND)
    with _build_lock():
        return _import_backend()


class _Loaded(NamedTuple):
    """How loading the kernels ended.

    Attributes:
        problem: Why it failed, in one line; empty if it worked.
        lasting: Whether it will fail again: the build did, and not for a reason that may pass.
    """

    problem: str
    lasting: bool


@functools.cache
def _load() -> _Loaded:
    """Load the kernels and run one."""
    built = False
    try:
        if _import_backend()._C is None:
            problem = "gsplat finds neither compiled kernels nor a CUDA toolkit to compile them with"
            return _Loaded(problem, lasting=True)
        built = True
        _run_one(importlib.import_module("gsplat"))
    except Exception as error:  # a compiler's, a linker's, a driver's: each raises its own
        if isinstance(error, ImportError) and isinstance(error.__context__, OSError):
            error = error.__context__  # after which gsplat looked for kernels that were never built
        cause = first_cause(str(error)) or type(error).__name__
        lasting = not built and not _PASSING.search(cause)
        return _Loaded(f"gsplat's kernels do not work here: {cause}", lasting)
    return _Loaded("", lasting=False)


def _import_backend() -> Any:
    with output_to_stderr(), _build_environment():
        return importlib.import_module(_BACKEND)


def _run_one(gsplat: Any) -> None:
    """The covariance of a Gaussian; kernels that were compiled for other GPUs fail only when they run."""
    quats, scales = torch.ones(1, 4, device="cuda"), torch.full((1, 3), 2.0, device="cuda")
    covars = gsplat.quat_scale_to_covar_preci(quats, scales, compute_preci=False)[0].cpu()
    if not torch.allclose(covars, 4 * torch.eye(3), atol=1e-3):
        raise RuntimeError("they compute the covariance of a ball wrongly")


def first_cause(output: str) -> str:
    """The line of a compiler's output that tells what went wrong: the first that speaks of an error."""
    lines = [" ".join(line.split()) for line in output.splitlines() if line.strip()]
    told = [line for line in lines if _CAUSE.search(line) and not _NO_CAUSE.match(line)]
    return next(iter([*told, *lines]), "")[:LONGEST_REASON]


@contextmanager
def output_to_stderr() -> Iterator[None]:
    """Send what is printed to stderr, by this process and by those it starts (compilers)."""
    with contextlib.ExitStack() as stack:
        if sys.stdout is not None and sys.stderr is not None:
            sys.stdout.flush()
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        with contextlib.suppress(OSError):  # a process without these has nothing to redirect
            kept = os.dup(1)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, 1)
            os.dup2(2, 1)
        yield


@contextmanager
def _build_lock(progress: Reporter = SILENT) -> Iterator[None]:
    """While kernels are built and loaded: no other process does so, and none removes what is half built.

    gsplat removes the lock of torch and the folder that another process builds in.

    Args:
        progress: Told if another process has to be waited for.
    """

    def tell() -> None:
        progress.say(
            "Waiting for another process that sets up gsplat's kernels: minutes, if it compiles them"
        )

    root = _extensions()
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # where nothing can be written, nothing is built either
            if root is not None:
                root.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked_in_turn(root / "gsplat_cuda.lock", tell=tell))
        yield


@contextmanager
def _build_environment() -> Iterator[None]:
    """While kernels are built: as many jobs as memory allows, unless the user says how many; ninja found."""
    changed = {"PATH": build_path()}
    if not os.environ.get("MAX_JOBS"):
        changed["MAX_JOBS"] = str(build_jobs())
    former = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in former.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def build_jobs() -> int:
    """Compilers at a time: one a core, as far as memory goes."""
    return max(1, min(usable_cores(), int(available_bytes() / BYTES_A_JOB)))


def _extensions() -> Path | None:
    """The folder that torch compiles extensions in; None if it cannot compile any."""
    try:
        from torch.utils import cpp_extension
    except ImportError:  # without setuptools
        return None
    return Path(os.environ.get("TORCH_EXTENSIONS_DIR") or cpp_extension.get_default_build_root())


def _built_before() -> bool:
    """Whether torch's folder of extensions holds gsplat's kernels; they may be of another torch."""
    root = _extensions()
    return root is not None and any(
        path.suffix in (".so", ".pyd") for path in root.glob("**/gsplat_cuda/gsplat_cuda*")
    )


def _record() -> Path:
    return cache_folder() / "gsplat_kernels.json"


def _machine(facts: CudaFacts) -> str:
    """Short hash of all that a build depends on."""
    compiler = os.path.realpath(shutil.which(facts.cxx) or "")  # g++ is a link to the g++ of its version
    chosen = [os.environ.get(name) for name in ("TORCH_CUDA_ARCH_LIST", "CC", "CXX", "NVCC_PREPEND_FLAGS")]
    return hashlib.sha256(repr((facts, torch.__version__, compiler, chosen)).encode()).hexdigest()[:16]


def _remember(facts: CudaFacts, loaded: _Loaded) -> None:
    """Keep for the commands that follow that a build failed; not what may pass, like a lack of memory."""
    with contextlib.suppress(OSError):  # they try once more
        if loaded.lasting:
            write_json(_record(), {"machine": _machine(facts), "problem": loaded.problem})
        else:
            _record().unlink(missing_ok=True)
