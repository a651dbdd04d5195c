"""C functions for the modules beside this one: compiled when first called, kept for next time.

A file is compiled by the system's compiler, `cc` or what the environment names as CC, once for
each variant and precision. What comes out is kept in the user's cache folder under the source,
the compiler with its processor, and the flags; GRADSMITH_CFLAGS adds to those. Where nothing
compiles, a warning says so once, and the files of the torch target serve.
"""

import atexit
import ctypes
import hashlib
import mmap
import os
import shlex
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import Tensor
from torch._C import _len_torch_dispatch_stack as len_torch_dispatch_stack
from torch._C._functorch import (
    is_legacy_batchedtensor,
    peek_interpreter_stack,  # what torch.func is in the middle of
)

FLAGS = (
    *("-std=c11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),
    *("-shared", "-fPIC"),
)
WISHES = (("-march=native", "-fopenmp"), ("-march=native", "-fopenmp-simd"), ())
"""The flags beside FLAGS, those that are best first: not every compiler has all of them."""

INCLUDED = "#include <math.h>\n#include <stdint.h>\n#include <stdlib.h>\n"
_PRECISIONS = {torch.float32: (ctypes.c_float, []), torch.float64: (ctypes.c_double, ["-DDOUBLE"])}
_SERVED = frozenset((*_PRECISIONS, torch.int64))
_PLAIN = frozenset((Tensor, torch.nn.Parameter))


LARGE = 1 << 22
"""As many bytes are worth large pages: two of them, where one has 2 MB."""


def empty(like: Tensor, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> Tensor:
    """Memory for what C writes; if it is large, in large pages where the system grants them.

    The C library returns large memory at once, so that each call is given new pages. Handing them
    out 4 KB at a time takes longer than the loops that fill them.
    """
    tensor = like.new_empty(shape, dtype=dtype)
    if tensor.nbytes >= LARGE:
        _in_large_pages(tensor.data_ptr(), tensor.nbytes)
    return tensor


def _in_large_pages(start: int, size: int) -> None:
    advice = getattr(mmap, "MADV_HUGEPAGE", None)  # of Linux
    if advice is not None:
        first, last = -(-start // mmap.PAGESIZE), (start + size) // mmap.PAGESIZE
        length = ctypes.c_size_t((last - first) * mmap.PAGESIZE)
        _process().madvise(ctypes.c_void_p(first * mmap.PAGESIZE), length, advice)


@cache
def _process() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def serves(*tensors: Tensor | float | None) -> bool:
    """Whether C computes with these tensors: plain ones on the CPU, in a dtype that it has.

    Under torch.compile and the transforms of torch.func, where a mode looks at what torch is asked
    for (`make_fx`, a count of operations), and without a compiler, it does not.
    """
    if torch.compiler.is_compiling() or peek_interpreter_stack() is not None:
        return False
    if len_torch_dispatch_stack():
        return False
    for tensor in tensors:
        if tensor is None:
            continue
        if not isinstance(tensor, Tensor) or type(tensor) not in _PLAIN:
            return False
        if not tensor.is_cpu or tensor.dtype not in _SERVED:
            return False
        if tensor.layout is not torch.strided or tensor.is_neg() or tensor._is_zerotensor():
            return False  # its memory is not its values
        if is_legacy_batchedtensor(tensor):  # of autograd.grad with is_grads_batched
            return False
    return compiler() is not None


def recorded(*tensors: Tensor) -> bool:
    """Whether autograd records what is done with these tensors, which it cannot see in C."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def in_torch_instead(
    function: type[torch.autograd.Function],
    inputs: Sequence[Any],
    cotangents: Sequence[Tensor | None],
) -> tuple[Tensor | None, ...]:
    """The gradients of a torch module's function, which autograd can differentiate again."""
    with torch.enable_grad():
        # Views, as one tensor may stand for two inputs.
        inputs = [i.view_as(i) if isinstance(i, Tensor) else i for i in inputs]
        outputs = function.apply(*inputs)
    given = [(o, c) for o, c in zip(outputs, cotangents, strict=False) if c is not None]
    wanted = [i for i in inputs if isinstance(i, Tensor) and i.requires_grad]
    gradients = torch.autograd.grad(
        [output for output, _ in given],
        wanted,
        [cotangent for _, cotangent in given],
        create_graph=torch.is_grad_enabled(),
        allow_unused=True,
    )
    found = iter(gradients)
    return tuple(next(found) if any(i is w for w in wanted) else None for i in inputs)


def check_tensors(**given: Any) -> None:
    """Raise a TypeError for what is no tensor."""
    for name, value in given.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be Tensor, not {type(value).__name__}")


def check_gradient(name: str, gradient: Tensor, like: Tensor) -> None:
    """Raise a TypeError for a gradient that C cannot take beside a tensor."""
    check_tensors(**{name: gradient})
    if gradient.dtype != like.dtype or not serves(gradient) or recorded(gradient):
        raise TypeError(
            f"{name} must be a plain {like.dtype} tensor on the CPU that autograd does not record, "
            f"got {gradient.dtype} on {gradient.device}"
        )


def check_trainable(**parameters: Tensor) -> None:
    """Raise for a parameter that cannot be written to where it lies."""
    for name, parameter in parameters.items():
        if recorded(parameter):
            raise RuntimeError(
                f"{name} requires a gradient and is changed in place: do so under torch.no_grad()"
            )
        if not parameter.is_contiguous():
            raise ValueError(f"{name} must be contiguous, got strides {parameter.stride()}")
    places = sorted((p.data_ptr(), p.data_ptr() + p.nbytes, name) for name, p in parameters.items())
    for (_, end, name), (start, _, other) in pairwise(places):
        if start < end:
            raise ValueError(f"{name} and {other} are changed in place and must not overlap")


class Function(dict[torch.dtype, Callable[..., None]]):
    """A C function in each precision, by dtype; compiled when it is first asked for.

    It takes pointers, then sizes, then options, and how many threads it may use. The names given
    here are for those who are told what is wrong with an argument.
    """

    def __init__(
        self,
        source: str,
        name: str,
        variant: int,
        pointers: Sequence[str],
        sizes: int,
        options: Sequence[str],
    ) -> None:
        super().__init__()
        self._source, self._name, self._variant = Path(source), name, variant
        self._pointers, self._sizes, self._options = pointers, sizes, options

    def __missing__(self, dtype: torch.dtype) -> Callable[..., None]:
        if dtype not in _PRECISIONS:
            raise TypeError(f"C computes in {' and '.join(map(str, _PRECISIONS))}, got {dtype}")
        real, macros = _PRECISIONS[dtype]
        function = _library(self._source, (*macros, f"-DVARIANT={self._variant}"))[self._name]
        function.argtypes = [
            *[ctypes.c_void_p] * len(self._pointers),
            *[ctypes.c_int64] * self._sizes,
            *[real] * len(self._options),
            ctypes.c_int,
        ]

        def call(*arguments: Any) -> None:
            try:
                status = function(*arguments)
            except ctypes.ArgumentError:
                self._check_options(real, arguments[-1 - len(self._options) : -1])
                raise
            if status:
                raise self._error(status)

        self[dtype] = call
        return call

    def _check_options(self, real: Callable[[Any], object], given: Sequence[Any]) -> None:
        """Raise a TypeError for an option that is no number."""
        for name, value in zip(self._options, given, strict=True):
            try:
                real(value)
            except (TypeError, ValueError, RuntimeError):  # a tensor may raise any
                raise TypeError(f"{name} must be a number, not {type(value).__name__}") from None

    def _error(self, status: int) -> Exception:
        """What a function's status says, where it did not come to its end."""
        if status == 1:
            return MemoryError("no memory for what the function works with")
        if status < 0:
            return IndexError("there is no largest element along an axis of size 0")
        return IndexError(f"{self._pointers[status - 2]} holds an index that is out of range")


@cache
def _library(source: Path, macros: tuple[str, ...]) -> ctypes.CDLL:
    """The library of a C file: from the cache, where a whole one is there, or compiled."""
    identity, text = _command(source)[1], source.read_bytes()
    key = hashlib.sha256(b"\0".join((identity, " ".join(macros).encode(), text))).hexdigest()
    folder = _folder()
    for kept in folder.glob(f"{key}-*.so"):
        if kept.stem == f"{key}-{_digest(kept)}":
            return ctypes.CDLL(str(kept))
        kept.unlink(missing_ok=True)  # cut short, or written over
    with tempfile.TemporaryDirectory(dir=folder) as unfinished:
        built = Path(unfinished) / "built.so"
        build(source, macros, built)
        kept = folder / f"{key}-{_digest(built)}.so"
        os.replace(built, kept)  # at once: another process sees a whole file or none
    return ctypes.CDLL(str(kept))


def build(source: Path, macros: Sequence[str], to: Path) -> None:
    """Compile a C file.

    Raises:
        RuntimeError: the compiler refuses it, or there is none.
    """
    command, _ = _command(source)
    done = _run([*command, *macros, "-x", "c", "-", "-o", str(to), "-lm"], source.read_bytes())
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise RuntimeError(f"{source.name}: {command[0]} failed: {' '.join(said[:2])}")


def _command(source: Path) -> tuple[list[str], bytes]:
    found = compiler()
    if found is None:
        raise RuntimeError(f"{source.name} needs a C compiler, and none was found")
    return found


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


@cache
def _folder() -> Path:
    """Where libraries are kept: for this process alone, where the user's cache is not writable, or
    nothing can be run from it."""
    folder = platformdirs.user_cache_path("gradsmith") / "c"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        tempfile.TemporaryFile(dir=folder).close()
        flags = os.statvfs(folder).f_flag if hasattr(os, "statvfs") else 0
        usable = not flags & getattr(os, "ST_NOEXEC", 0)  # of Linux
    except OSError:
        usable = False
    if not usable:
        folder = Path(tempfile.mkdtemp(prefix="gradsmith-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def compiler() -> tuple[list[str], bytes] | None:
    """The compiler's command line, and what tells it and its processor from any other."""
    name = os.environ.get("CC") or "cc"
    extra = os.environ.get("GRADSMITH_CFLAGS", "")
    said = ""
    for wishes in WISHES:
        try:
            command = [*shlex.split(name), *FLAGS, *wishes, *shlex.split(extra)]
            with tempfile.TemporaryDirectory() as folder:
                tried = _run([*command, "-x", "c", "-", "-o", f"{folder}/tried.so"], b"int tried;")
            macros = _run([*command, "-dM", "-E", "-x", "c", "-"], INCLUDED.encode())
        except OSError as error:
            said = str(error.strerror)
            break
        except ValueError as error:  # quotation marks that are not closed
            said = f"{error} in CC or GRADSMITH_CFLAGS"
            break
        if not tried.returncode and not macros.returncode:
            return command, b"\0".join((" ".join(command).encode(), macros.stdout))
        said = (tried.stderr or macros.stderr).decode(errors="replace").strip().split("\n")[0]
    message = f"no C compiler: {name}: {said}; the torch target serves"
    warnings.warn_explicit(message, UserWarning, "gradsmith", 0)  # one line, no source beside it
    return None


def _run(command: list[str], text: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, input=text, capture_output=True, check=False)
