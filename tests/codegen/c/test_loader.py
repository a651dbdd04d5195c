"""The loader compiles once, keeps what is whole, and leaves to torch what it cannot compile."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from derive import library

ROOT = Path(__file__).parents[3]
GENERATED = ROOT / "generated" / "c"
NAMES = library.names()

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("loader")]

PROGRAM = """
import warnings
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    import torch
    from generated.c import loader, softmax, makemore_mlp
    import generated.softmax

    x = torch.linspace(-2, 2, 12).view(3, 4).requires_grad_()
    softmax.softmax(x, 1).square().sum().backward()
    p, residuals = softmax.forward(x.detach())
    by_hand = softmax.backward(2 * p, residuals)
    assert torch.allclose(x.grad, by_hand.grad_x, atol=1e-6)
    assert torch.allclose(p, torch.softmax(x.detach(), 1))
    g = torch.Generator().manual_seed(0)
    shapes = dict(C=(5, 2), W1=(6, 8), b1=(8,), bngain=(8,), bnbias=(8,), W2=(8, 5), b2=(5,))
    model = {name: torch.randn(shape, generator=g) for name, shape in shapes.items()}
    data = dict(Xb=torch.randint(0, 5, (9, 3), generator=g), Yb=torch.arange(9) % 5)
    loss, gradients = makemore_mlp.value_and_grad(**model, **data)
    samples = torch.randint(0, 9, (3, 4), generator=g)
    losses = makemore_mlp.steps(**model, **data, samples=samples, rate=0.1)
for warning in said:
    print("warning:", warning.message)
print("in C:", type(residuals) is softmax.Residuals and loader.compiler() is not None)
print("grads:", " ".join(f"{v:.4f}" for v in by_hand.grad_x.view(-1)))
print("loss:", f"{loss.item():.4f}", f"{gradients.grad_W2.norm().item():.4f}")
print("losses:", " ".join(f"{v:.4f}" for v in losses), f"{model['W1'].norm().item():.4f}")
"""


QUICKLY = {"GRADSMITH_CFLAGS": "-O0"}
"""What is compiled here is called a few times, on a few numbers."""


def run(cache: Path, **environment: str) -> dict[str, list[str]]:
    """What the program says in a process of its own: the lines by what each begins with."""
    kept = {k: v for k, v in os.environ.items() if k not in ("CC", "GRADSMITH_CFLAGS")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={
            **kept,
            **QUICKLY,
            "XDG_CACHE_HOME": str(cache),
            "PYTHONPATH": str(ROOT),
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        kind, _, rest = line.partition(": ")
        said.setdefault(kind, []).append(rest)
    return said


def libraries(cache: Path) -> dict[Path, int]:
    """What is kept, and when it was written."""
    return {file: file.stat().st_mtime_ns for file in sorted(cache.rglob("*.so"))}


@pytest.fixture(scope="module")
def used(c_compiler: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder after the program's first run."""
    cache = tmp_path_factory.mktemp("cache")
    assert run(cache)["in C"] == ["True"]
    return cache


@pytest.fixture(scope="module")
def expected(used: Path) -> dict[str, list[str]]:
    return run(used)


@pytest.fixture
def cache(used: Path) -> Iterator[Path]:
    """The same, its files put back afterwards."""
    before = {file: file.read_bytes() for file in libraries(used)}
    yield used
    for file in libraries(used):
        file.unlink()
    for file, content in before.items():
        file.write_bytes(content)


def test_a_file_is_compiled_once_and_kept(cache: Path) -> None:
    before = libraries(cache)
    assert run(cache)["in C"] == ["True"]
    assert len(before) == 2
    assert libraries(cache) == before
    assert not [file for file in (cache / "gradsmith" / "c").iterdir() if file.suffix != ".so"]


@pytest.mark.parametrize("content", [b"", b"\x7fELF cut short", b"nothing of the kind" * 1000])
def test_an_entry_that_was_cut_short_or_written_over_is_rebuilt(
    cache: Path, expected: dict[str, list[str]], content: bytes
) -> None:
    for file in libraries(cache):
        whole = file.read_bytes()
        file.write_bytes(content or whole[: len(whole) // 2])
    assert run(cache) == expected
    assert len(libraries(cache)) == 2
    assert all(len(file.read_bytes()) > 10_000 for file in libraries(cache))


def test_processes_that_compile_at_once_all_get_a_whole_library(
    c_compiler: None, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(3) as pool:
        said = list(pool.map(lambda _: run(tmp_path), range(3)))
    assert said[0]["in C"] == ["True"]
    assert said[1:] == said[:-1]
    assert run(tmp_path) == said[0]


def test_a_cache_that_cannot_be_written_is_done_without(c_compiler: None, tmp_path: Path) -> None:
    (tmp_path / "gradsmith").write_text("a file where a folder should be")
    (tmp_path / "elsewhere").mkdir()
    said = run(tmp_path, TMPDIR=str(tmp_path / "elsewhere"))
    assert said["in C"] == ["True"]
    assert "warning" not in said
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("change", [{"GRADSMITH_CFLAGS": "-O1"}, {"CC": "{compiler}"}])
def test_another_compiler_or_other_flags_have_entries_of_their_own(
    cache: Path, tmp_path: Path, change: dict[str, str]
) -> None:
    (script := tmp_path / "another").write_text(
        f'#!/bin/sh\nexec {os.environ.get("CC") or "cc"} "$@"\n'
    )
    script.chmod(0o755)
    before = libraries(cache)
    changed = {name: value.format(compiler=script) for name, value in change.items()}
    assert run(cache, **changed)["in C"] == ["True"]
    after = libraries(cache)
    assert before.items() < after.items()
    assert len(after) == 4
    assert run(cache)["in C"] == ["True"]
    assert libraries(cache) == after


FAILS = '#!/bin/sh\necho "no licence for this" >&2\nexit 1\n'


@pytest.mark.parametrize("how", ["absent", "empty path", "failing"])
def test_without_a_compiler_one_warning_is_given_and_torch_gives_the_same(
    expected: dict[str, list[str]], tmp_path: Path, how: str
) -> None:
    (failing := tmp_path / "failing").write_text(FAILS)
    failing.chmod(0o755)
    environment, words = {
        "absent": ({"CC": "/nonexistent/cc"}, "/nonexistent/cc"),
        "empty path": ({"PATH": ""}, "cc"),
        "failing": ({"CC": str(failing)}, "no licence for this"),
    }[how]
    by_torch = run(tmp_path, **environment)
    (warning,) = by_torch.pop("warning")
    assert warning.startswith("no C compiler: ") and words in warning
    assert warning.endswith("the torch target serves")
    assert by_torch.pop("in C") == ["False"]
    assert by_torch == {kind: lines for kind, lines in expected.items() if kind != "in C"}
    assert not libraries(tmp_path)


def test_a_file_that_does_not_compile_says_so(c_compiler: None, tmp_path: Path) -> None:
    loader = import_module("generated.c.loader")
    (tmp_path / "broken.c").write_text("int forward(void) { return nothing; }\n")
    function = loader.Function(str(tmp_path / "broken.c"), "forward", 0, (), 0, ())
    with pytest.raises(RuntimeError, match=r"^broken\.c: \w+ failed: .*"):
        function[import_module("torch").float32]


def warnings_of(name: str, compiler: list[str]) -> list[str]:
    """What a compiler warns of in a file, in any variant and precision."""
    said: list[str] = []
    for variant in range(len(library.load(name).variants)):
        for macros in ([f"-DVARIANT={variant}"], [f"-DVARIANT={variant}", "-DDOUBLE"]):
            command = [*compiler, "-fsyntax-only", *macros, str(GENERATED / f"{name}.c")]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            said += done.stderr.splitlines()[:4]
    return said


# A size or the threads may have no part in one function and in the next one all: they are given
# to every function alike.
STRICT = ("-std=c11", "-fopenmp", "-Wall", "-Wextra", "-Wpedantic", "-Wno-unused-parameter")


def test_no_file_gives_a_compiler_cause_to_warn(c_compiler: None) -> None:
    compiler = [os.environ.get("CC") or "cc", *STRICT]
    with ThreadPoolExecutor(2) as pool:
        every = list(pool.map(partial(warnings_of, compiler=compiler), NAMES))
    assert not {name: lines for name, lines in zip(NAMES, every, strict=True) if lines}


@pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="no large pages to ask for"
)
def test_a_large_result_asks_for_large_pages(c_compiler: None) -> None:
    softmax = import_module("generated.c.softmax")
    p, _ = softmax.forward(torch.zeros(4096, 1024))
    assert "hg" in flags_of(p.data_ptr() + p.nbytes // 2)


def flags_of(address: int) -> list[str]:
    """What the kernel keeps about the memory at an address."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if bounds := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(bounds[1], 16) <= address < int(bounds[2], 16)
        elif inside and line.startswith("VmFlags:"):
            return line.split()[1:]
    raise AssertionError(f"{address:#x} is in no mapping")


def test_nothing_is_kept_where_nothing_can_be_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    loader = import_module("generated.c.loader")
    mounted = SimpleNamespace(f_flag=os.ST_NOEXEC)
    monkeypatch.setattr(loader.platformdirs, "user_cache_path", lambda _: tmp_path)
    usual = loader._folder.__wrapped__()
    monkeypatch.setattr(loader.os, "statvfs", lambda _: mounted)
    elsewhere = loader._folder.__wrapped__()
    assert usual == tmp_path / "c"
    assert elsewhere.is_dir() and tmp_path not in elsewhere.parents
