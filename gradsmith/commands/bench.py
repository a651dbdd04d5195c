"""`gradsmith bench`: what the generated code costs beside the alternatives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from gradsmith.bench import Result

_COLUMNS = ("generated", "chunked", "autograd", "compiled", "native")


@click.command(short_help="Time generated code against autograd, fused operators, torch.compile.")
@click.argument("cases", metavar="[CASE]...", nargs=-1)
@click.option("--rounds", type=click.IntRange(1), default=15, show_default=True, metavar="N")
@click.option("--compile/--no-compile", default=True, help="Time torch.compile too.")
@click.option("--json", "as_json", is_flag=True, help="A list of objects on standard output.")
def command(cases: tuple[str, ...], rounds: int, compile: bool, as_json: bool) -> None:
    """Time each CASE: `step`, the training step, or a library operation; by default all.

    Microseconds, medians of rounds in which all contestants take their turn, on one thread.
    `autograd` differentiates the step as the notebook writes it, and an operation's emitted
    forward; `native` is PyTorch's own operator. The kernels are those that each call launches.
    """
    results = []
    for result in _results(cases, rounds, compile):
        results.append(result)
        if not as_json:
            click.echo(_line(result))
    if as_json:
        click.echo(json.dumps([result.as_dict() for result in results], indent=2))


def _results(cases: tuple[str, ...], rounds: int, compile: bool) -> Iterator[Result]:
    import torch

    from derive import DefinitionError, library
    from gradsmith import bench
    from gradsmith.errors import UserError

    torch.set_num_threads(1)
    known = ["step", *(n for n in library.names() if not n.startswith("makemore"))]
    for case in cases or known:
        if case not in known:
            raise UserError(f"no case {case!r}; there are {', '.join(known)}")
        for with_compile in (compile, False):
            try:
                if case == "step":
                    yield bench.step(rounds, with_compile)
                else:
                    yield from bench.operation(library.load(case), rounds, with_compile)
                break
            except (DefinitionError, RuntimeError) as error:
                if not with_compile:
                    raise
                reason = str(error).splitlines()[0]
                click.echo(f"{case}: torch.compile failed ({reason}); left out", err=True)


def _line(result: Result) -> str:
    times = [(name, getattr(result, name)) for name in _COLUMNS]
    shown = " | ".join(f"{n} {t:8.1f}" for n, t in times if t is not None)
    counts = ", ".join(f"{name} {count}" for name, count in result.kernels.items())
    return (
        f"{result.case:14s} {result.size:12s} | {shown} us | {result.ratio:.2f}x autograd"
        f" | kernels: {counts}"
    )
