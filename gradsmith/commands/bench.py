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
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, one object a case.")
def command(cases: tuple[str, ...], rounds: int, compile: bool, as_json: bool) -> None:
    """Time each CASE: `step`, one training step, or an operation at three sizes; all by default.

    \b
    generated  the emitted forward and backward, by plain calls
    chunked    the step with every intermediate's gradient on a line of its own
    autograd   of the model as the notebook writes it; of an operation's emitted forward
    compiled   the same through torch.compile
    native     PyTorch's own operator under autograd

    Medians in microseconds on one thread, and how many times as fast the generated code is. The
    kernels are the ATen operations that a call runs, views aside.
    """
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


def _cases(names: tuple[str, ...]) -> Iterator[Case]:
    from derive import library
    from gradsmith import bench
    from gradsmith.errors import UserError

    known = [STEP, *(name for name in library.names() if not name.startswith("makemore"))]
    for name in names:
        if name not in known:
            raise UserError(f"no case {name!r}; there are {', '.join(known)}")
    for name in names or known:
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
