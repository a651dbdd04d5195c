"""The C files of all operations run under sanitizers, which report nothing.

Built with -fsanitize=address,undefined, their constants shrunk so that small sizes cross the
borders of tiles, blocks and panels: see `sanitized.py`, which each test here runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from derive import library
from derive.files import load_definitions

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("sanitized.py")
ROOT = Path(__file__).parents[3]
GROUPS = 4
FLAGS = "-O0 -g -fsanitize=address,undefined -fno-sanitize-recover=all"


@pytest.fixture(scope="session")
def runtime(c_compiler: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The libraries that have to be loaded before anything else."""
    (program := tmp_path_factory.mktemp("sanitizer") / "empty.c").write_text("int tried;")
    command = [os.environ.get("CC") or "cc", *FLAGS.split(), "-shared", "-fPIC", str(program)]
    tried = subprocess.run(
        [*command, "-o", str(program.with_suffix(".so"))], capture_output=True, check=False
    )
    # Torch throws, and the interpreter has not loaded what the sanitizer hands exceptions to.
    needed = [located(command[0], name) for name in ("libasan.so", "libstdc++.so")]
    if tried.returncode or not all(Path(file).is_absolute() for file in needed):
        pytest.skip("the compiler has no -fsanitize=address: install GCC with its libasan")
    return " ".join(needed)


def located(compiler: str, library: str) -> str:
    """Where a compiler has a library of its own; its plain name where it has none."""
    asked = [compiler, f"-print-file-name={library}"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def run(runtime: str, folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(folder),
        "GRADSMITH_CFLAGS": FLAGS,
        "CC": f"env -u LD_PRELOAD {os.environ.get('CC') or 'cc'}",
        "LD_PRELOAD": runtime,
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "OMP_NUM_THREADS": "3",
    }
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), *names],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("group", range(GROUPS))
def test_no_operation_touches_what_is_not_its_own(group: int, runtime: str, tmp_path: Path) -> None:
    by_length = sorted(library.names(), key=lambda name: len(library.load(name).variants))
    names = by_length[group::GROUPS]
    done = run(runtime, tmp_path, *names)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "runtime error" not in done.stderr and "Sanitizer" not in done.stderr
    variants = sum(len(library.load(name).variants) for name in names)
    counts = json.loads(done.stdout)
    # At four sizes or more, the usual one in both precisions.
    assert counts["compared"] >= 4 * (variants + len(names))
    assert counts["refused"] or not any(
        tensor.integer for name in names for tensor in library.load(name).inputs
    )


@pytest.mark.parametrize("name", ["windows", "positions"])
def test_nothing_is_read_or_written_beside_a_computed_index(
    name: str, runtime: str, tmp_path: Path
) -> None:
    file = ROOT / "tests" / "definitions" / f"{name}.grad"
    done = run(runtime, tmp_path, str(file))
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(done.stdout)["compared"] > 4 * len(load_definitions(file))


@pytest.mark.parametrize(
    ("name", "old", "new", "report"),
    [
        ("softmax", "k < K; k++", "k <= K; k++", "heap-buffer-overflow"),
        ("linear", "least(N - n, WIDTH)", "WIDTH", "heap-buffer-overflow"),
        ("layer_norm", "aligned_alloc(64, ", "aligned_alloc(64, 64 + 0 * ", "heap-buffer-overflow"),
        ("cross_entropy", ">= K", "> K", "heap-buffer-overflow"),
        ("tanh", "return 0;", "return threads << 31 << 31;", "runtime error"),
    ],
)
def test_a_broken_file_is_reported(
    name: str, old: str, new: str, report: str, runtime: str, tmp_path: Path
) -> None:
    text = Path(import_module(f"generated.c.{name}")._SOURCE).read_text()
    assert old in text
    (tmp_path / f"{name}.c").write_text(text.replace(old, new))
    done = run(runtime, tmp_path, name)
    assert done.returncode != 0
    assert report in done.stderr
