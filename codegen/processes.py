"""One function of each of several things, in as many processes as there are processors."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

_WORTH_PROCESSES = 4

Given = TypeVar("Given")
Made = TypeVar("Made")


def in_processes(function: Callable[[Given], Made], work: Sequence[Given]) -> Iterator[Made]:
    """What the function makes of each thing, in their order; here, where they are few.

    The processes are started afresh: a fork of one that has threads, as a progress bar or
    PyTorch begins them, may wait forever for a lock that one of them held. What is given and what
    is made is pickled, and a script that asks for this has its `if __name__ == "__main__"`.
    """
    if len(work) < _WORTH_PROCESSES:
        yield from map(function, work)
        return
    count = min(os.cpu_count() or 1, len(work))
    with ProcessPoolExecutor(count, get_context("spawn"), _ended_by_ctrl_c) as pool:
        yield from pool.map(function, work)


def _ended_by_ctrl_c() -> None:
    """A process that is interrupted ends without a word: the one that asked for it says so."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
