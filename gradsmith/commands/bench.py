"""`gradsmith bench`: what the generated code costs beside the alternatives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from gradsmith.bench import Case, Result

STEP = "step"


@click.command(short_help="Time generated code against autograd, fused operators, torch.compile.")
@click.argument("cases", metavar="[CASE]...", nargs=-1)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=15,
    show_default=True,
    help="Rounds in which every contestant has its turn.",
)
@click.option("--compile/--no-compile", default=True, help="Whether to time torch.compile too.")
@click.option(
    "--target",
    type=click.Choice(("torch", "c")),
    default="torch",
    show_default=True,
    help="What is timed: PyTorch code, or loops in C.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, one object a case.")
def command(cases: tuple[str, ...], rounds: int, compile: bool, target: str, as_json: bool) -> None:
    """Time each CASE: `step`, one training step, or an operation at three sizes; all by default.

    \b
    generated  the emitted forward and backward, by plain calls
    chunked    the step with every intermediate's gradient on a line of its own
    autograd   of the model as the notebook writes it; of an operation's emitted forward
    compiled   the same through torch.compile
    native     PyTorch's own operator under autograd

    Medians in microseconds on one thread, and how many times as fast the generated code is. The
    kernels are the ATen operations that a call runs, views aside.

    With --target c: the training step, its update included, and operations at four sizes, by
    default those that PyTorch has fused. First what the machine can do at most, copying and
    multiplying; then plain calls beside PyTorch's operator, and the C functions alone: what part
    of a copy's bandwidth they reach, counting the bytes that must move, and what a second thread
    brings.
    """
    if target == "c":
        _loops(cases, rounds, as_json)
        return
    import torch

    from gradsmith.bench import measure

    torch.set_num_threads(1)
    results = []
    for case in _cases(cases):
        result = measure(case, rounds, compile, lambda text: click.echo(text, err=True))
        results.append(result)
        if not as_json:
            click.echo(_line(result))
    if as_json:
        click.echo(json.dumps([result.as_json() for result in results], indent=2))


def _loops(cases: tuple[str, ...], rounds: int, as_json: bool) -> None:
    import torch

    from derive import library
    from gradsmith import loops

    torch.set_num_threads(1)
    machine = loops.ceilings(rounds)
    results: list[loops.Ceilings | loops.Training | loops.Loops] = [machine]
    if not as_json:
        for line in machine.lines():
            click.echo(line)
    for name in _known(cases or (STEP, *loops.USUAL)):
        found = (
            [loops.step(rounds)]
            if name == STEP
            else loops.operation(library.load(name), machine, rounds)
        )
        for result in found:
            results.append(result)
            if not as_json:
                click.echo(result.line())
    if as_json:
        click.echo(json.dumps([result.as_json() for result in results], indent=2))


def _known(names: tuple[str, ...]) -> list[str]:
    """The cases that were asked for, by default all, if there are such."""
    from derive import library
    from gradsmith.errors import UserError

    known = [STEP, *(name for name in library.names() if not name.startswith("makemore"))]
    for name in names:
        if name not in known:
            raise UserError(f"no case {name!r}; there are {', '.join(known)}")
    return list(names or known)


def _cases(names: tuple[str, ...]) -> Iterator[Case]:
    from derive import library
    from gradsmith import bench

    for name in _known(names):
        if name == STEP:
            yield bench.step()
        else:
            yield from bench.operation(library.load(name))


def _line(result: Result) -> str:
    from gradsmith.bench import CONTESTANTS

    parts = [f"{result.case:13s} {result.size:11s}"]
    for name in CONTESTANTS:
        if name not in result.microseconds:
            continue
        ratio = result.ratio(name)
        times = "" if name == "generated" else f" ({ratio:.2f}x)"
        kernels = f" {result.kernels[name]} kernels" if name in result.kernels else ""
        parts.append(f"{name} {result.microseconds[name]:.0f} us{times}{kernels}")
    return " | ".join(parts)
