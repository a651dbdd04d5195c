from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from codegen.processes import in_processes

HELD = threading.Lock()


def with_the_lock(number: int) -> tuple[int, int]:
    with HELD:
        return number * number, os.getpid()


def test_what_is_made_comes_in_the_order_asked_for_and_a_few_things_are_made_here() -> None:
    assert list(in_processes(with_the_lock, range(3))) == [(n * n, os.getpid()) for n in range(3)]


def test_a_lock_that_a_thread_holds_is_not_waited_for_by_other_processes() -> None:
    with HELD:
        made = list(in_processes(with_the_lock, range(8)))
    assert [square for square, _ in made] == [n * n for n in range(8)]
    assert os.getpid() not in {process for _, process in made}


def test_what_one_process_raises_is_raised_here() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        list(in_processes(int, ["1", "2", "3", "four"]))


def test_a_script_compiles_an_operation_of_many_variants_as_it_is(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from codegen.pipeline import compile\nfrom derive import library\n"
        "print(compile(library.load('l1_loss')).l1_loss.__name__)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.stdout == "l1_loss\n", done.stderr
