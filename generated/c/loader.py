"""C functions for the modules beside this one: compiled when first called, kept for next time.

A file is compiled once for each variant and precision, by `cc` or the compiler that the environment
variable CC names. The library is kept in the user's cache folder, under a hash of the source, the
compiler, the processor and the flags, to which GRADSMITH_CFLAGS adds. Without a working compiler
there is one warning, and the modules of the torch target compute everything.
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
"""What is tried beside FLAGS, the best first: not every compiler has all of these."""

INCLUDED = "#include <math.h>\n#include <stdint.h>\n#include <stdlib.h>\n"
_PRECISIONS = {torch.float32: (ctypes.c_float, []), torch.float64: (ctypes.c_double, ["-DDOUBLE"])}
_SERVED = frozenset((*_PRECISIONS, torch.int64))
_PLAIN = frozenset((Tensor, torch.nn.Parameter))


LARGE = 1 << 22
"""How many bytes are worth large pages: two of them, of 2 MB each."""


def empty(like: Tensor, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> Tensor:
    """A tensor for C to write to, in large pages if it is large and the system grants them.

    The C library gives large blocks back to the system when they are freed, so each call gets new
    pages, and mapping those 4 KB at a time takes longer than the loops that fill them.
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
    """Whether C can compute with these tensors: plain ones on the CPU, in a dtype that it has.

    It cannot under torch.compile and the transforms of torch.func, under a mode that watches
    torch's operations (such as `make_fx`, or one that counts them), or without a compiler.
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
            return False  # what lies in its memory is not its values
        if is_legacy_batchedtensor(tensor):  # of autograd.grad with is_grads_batched
            return False
    return compiler() is not None


def recorded(*tensors: Tensor) -> bool:
    """Whether autograd would record operations on these tensors; it cannot look into C."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def in_torch_instead(
    function: type[torch.autograd.Function],
    inputs: Sequence[Any],
    cotangents: Sequence[Tensor | None],
) -> tuple[Tensor | None, ...]:
    """The gradients by the torch module's function, which autograd can differentiate again."""
    with torch.enable_grad():
        # Views, since one tensor may be given for two inputs.
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
    """Raise a TypeError for anything but a tensor."""
    for name, value in given.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be Tensor, not {type(value).__name__}")


def check_gradient(name: str, gradient: Tensor, like: Tensor) -> None:
    """Raise a TypeError for a gradient that C cannot use together with a tensor."""
    check_tensors(**{name: gradient})
    if gradient.dtype != like.dtype or not serves(gradient) or recorded(gradient):
        raise TypeError(
            f"{name} must be a plain {like.dtype} tensor on the CPU that autograd does not record, "
            f"got {gradient.dtype} on {gradient.device}"
        )


def check_trainable(**parameters: Tensor) -> None:
    """Raise an error for a parameter that cannot be updated in place."""
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
    """A C function in each precision, by dtype; compiled when first asked for.

    It takes pointers, then sizes, then options, then how many threads it may use. Pointers and
    options are named for the messages of errors.
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
        """Raise a TypeError for an option that is not a number."""
        for name, value in zip(self._options, given, strict=True):
            try:
                real(value)
            except (TypeError, ValueError, RuntimeError):  # a tensor may raise any of them
                raise TypeError(f"{name} must be a number, not {type(value).__name__}") from None

    def _error(self, status: int) -> Exception:
        """The error that the status of a function stands for."""
        if status == 1:
            return MemoryError("no memory for what the function works with")
        if status < 0:
            return IndexError("there is no largest element along an axis of size 0")
        return IndexError(f"{self._pointers[status - 2]} holds an index that is out of range")


@cache
def _library(source: Path, macros: tuple[str, ...]) -> ctypes.CDLL:
    """The library of a C file: from the cache, if an intact one is there, or compiled."""
    identity, text = _command(source)[1], source.read_bytes()
    key = hashlib.sha256(b"\0".join((identity, " ".join(macros).encode(), text))).hexdigest()
    folder = _folder()
    for kept in folder.glob(f"{key}-*.so"):
        if kept.stem == f"{key}-{_digest(kept)}":
            return ctypes.CDLL(str(kept))
        kept.unlink(missing_ok=True)  # cut short, or overwritten
    with tempfile.TemporaryDirectory(dir=folder) as unfinished:
        built = Path(unfinished) / "built.so"
        build(source, macros, built)
        kept = folder / f"{key}-{_digest(built)}.so"
        os.replace(built, kept)  # in one step: other processes see a whole file or none
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
    """Where libraries are kept; for this process alone, if the user's cache is not writable or not
    executable."""
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
    """The compiler's command line, and what identifies it and its processor."""
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
        except ValueError as error:  # an unclosed quotation mark
            said = f"{error} in CC or GRADSMITH_CFLAGS"
            break
        if not tried.returncode and not macros.returncode:
            return command, b"\0".join((" ".join(command).encode(), macros.stdout))
        said = (tried.stderr or macros.stderr).decode(errors="replace").strip().split("\n")[0]
    message = f"no C compiler: {name}: {said}; the torch target serves"
    warnings.warn_explicit(message, UserWarning, "gradsmith", 0)  # one line, without the source
    return None


def _run(command: list[str], text: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, input=text, capture_output=True, check=False)
