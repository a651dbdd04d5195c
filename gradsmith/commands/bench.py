"""`gradsmith bench`: what the generated code costs beside the alternatives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING

import click

from gradsmith import options as shared

if TYPE_CHECKING:
    from gradsmith.timing.bench import Case, Result

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
@shared.target("What is timed: PyTorch code, or loops in C.")
@click.option(
    "--kernels",
    "count",
    is_flag=True,
    help="Count what each backward launches and keeps, beside autograd of primitives; no timing.",
)
@shared.as_json("case")
def command(
    cases: tuple[str, ...], rounds: int, compile: bool, target: str, count: bool, as_json: bool
) -> None:
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
    default those that PyTorch has fused. First how fast the machine multiplies matrices; then plain
    calls beside PyTorch's operator, and the C functions alone: what part of the bandwidth they
    reach that a copy has in the same rounds, counting the bytes that must move, and what a second
    thread brings.

    With --kernels a line for each variant of an operation: the kernels of the emitted backward
    and the bytes that they read and write, beside those of autograd's backward of the same
    definition written in exp, +, *, sum, where and their like, with nothing fused; both passes
    together, as the emitted forward works out ahead what it can of the gradients; and the bytes
    that are kept from the one pass to the other.
    """
    from gradsmith.errors import excludes

    if target == "c":
        excludes("--target c", "count", "compile")
        _loops(cases, rounds, as_json)
        return
    if count:
        excludes("--kernels", "rounds", "compile")
        _count(cases, as_json)
        return
    import torch

    from gradsmith.timing.bench import measure

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
    from gradsmith.emitted import require_compiler
    from gradsmith.timing import loops

    require_compiler()
    torch.set_num_threads(1)
    results: list[loops.Products | loops.Training | loops.Loops] = [loops.products(rounds)]
    if not as_json:
        click.echo(results[0].line())
    for name in _known(cases or (STEP, *loops.USUAL), _timed()):
        if name == STEP:
            found = iter([loops.step(rounds)])
        else:
            definition = library.load(name)
            found = loops.operation(definition, rounds)
            seconds = loops.seconds_to_compile(definition)
            click.echo(f"{name} compiled in {seconds:.2f} s", err=True)
        for result in found:
            results.append(result)
            if not as_json:
                click.echo(result.line())
    timed = [r for r in results if isinstance(r, loops.Loops)]
    if ratios := [r.c / r.native for r in timed if r.native]:
        average = sum(ratios) / len(ratios)
        said = f"{average:.2f} of PyTorch's time on average, {max(ratios):.2f} at most"
        click.echo(said, err=True)
    if as_json:
        click.echo(json.dumps([result.as_json() for result in results], indent=2))


def _count(names: tuple[str, ...], as_json: bool) -> None:
    from statistics import mean

    from derive import library
    from gradsmith.timing.kernels import count_kernels

    found = []
    for name in _known(names, library.names()):
        for variant in library.load(name).variants:
            found.append(count_kernels(variant))
            if not as_json:
                click.echo(found[-1].line())
    if as_json:
        click.echo(json.dumps([counts.as_json() for counts in found], indent=2))
    usual = [c for c in found if not c.definition.variant]
    click.echo(
        f"{mean(c.ratio for c in usual):.2f} of autograd's kernels on average over {len(usual)} "
        f"operations, {mean(c.ratio_of_both for c in usual):.2f} with the forward pass, and "
        f"{mean(c.ratio_kept for c in usual):.2f} of the bytes that it keeps; "
        f"more than autograd's in {sum(c.ratio > 1 for c in found)} of {len(found)} variants, "
        f"in {sum(c.ratio_of_both > 1 for c in found)} with the forward pass, "
        f"and kept in {sum(c.ratio_kept > 1 for c in found)}",
        err=True,
    )


def _timed() -> list[str]:
    """Everything that can be timed."""
    from derive import library

    return [STEP, *(name for name in library.names() if not name.startswith("makemore"))]


def _known(names: tuple[str, ...], known: list[str]) -> tuple[str, ...] | list[str]:
    """The names that were given, all of them known; every known one where there are none."""
    from gradsmith.errors import UserError

    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise UserError(f"no case {name!r}; {hint}")
    return names or known


def _cases(names: tuple[str, ...]) -> Iterator[Case]:
    from derive import library
    from gradsmith.timing import bench

    for name in _known(names, _timed()):
        if name == STEP:
            yield bench.step()
        else:
            yield from bench.operation(library.load(name))


def _line(result: Result) -> str:
    from gradsmith.timing.bench import CONTESTANTS

    parts = [f"{result.case:13s} {result.size:11s}"]
    for name in CONTESTANTS:
        if name not in result.microseconds:
            continue
        ratio = result.ratio(name)
        times = "" if name == "generated" else f" ({ratio:.2f}x)"
        kernels = f" {result.kernels[name]} kernels" if name in result.kernels else ""
        parts.append(f"{name} {result.microseconds[name]:.0f} us{times}{kernels}")
    return " | ".join(parts)
