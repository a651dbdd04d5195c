"""`gradsmith check`: derived gradients, or somebody's own, held against autograd."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradsmith import options as shared

if TYPE_CHECKING:
    from derive import Definition

_SHOWN = 5
"""Problems that are told of an operation; the others are counted."""


@click.command(short_help="Hold derived gradients, or a hand-written one, against autograd.")
@click.argument("ops", metavar="[OP]...", nargs=-1)
@shared.definitions("Check the operations of this file instead of the library's.")
@click.option(
    "--against",
    metavar="FILE.py:FUNCTION",
    help="Hold this hand-written backward of one OP against the derived one.",
)
@click.option(
    "--option",
    "options",
    metavar="NAME=VALUE",
    multiple=True,
    help="With --against: the value at which an option is held.",
)
@click.option(
    "--seed",
    type=shared.SEED,
    default=0,
    show_default=True,
    help="Inputs and cotangents are drawn from it.",
)
@shared.target("The emitted code to check: PyTorch's, or the loops in C.")
@click.option(
    "--opinfo",
    is_flag=True,
    help="Hold the public functions against the sample inputs that PyTorch tests its own with.",
)
@click.option(
    "--device",
    metavar="DEVICE",
    help="With --opinfo: where the samples lie, by PyTorch's name.  [default: cpu]",
)
@shared.as_json("gradient")
def command(
    ops: tuple[str, ...],
    definitions: Path | None,
    against: str | None,
    options: tuple[str, ...],
    seed: int,
    target: str,
    opinfo: bool,
    device: str | None,
    as_json: bool,
) -> None:
    """Check the emitted code of each OP, by default of all of them.

    The forward is held against an exact evaluator and PyTorch's own operation; the backward
    against autograd of a forward that was not emitted, and against finite differences, in
    float64; the table then shows every gradient in float32 beside autograd's.

    With --opinfo a line for each OP that PyTorch has samples for, with how many agree of all:
    the value and the gradient of every input, in two precisions, contiguous and not; and how
    many of the inputs that are errors are refused with the same exception.

    With --against, FUNCTION is a backward of your own. Its parameters are told by their names:
    grad_OUTPUT (or grad_output), any input, intermediate or option of the definition, or
    `residuals` as the emitted forward returns them. An option that it does not take stays at its
    default. It returns one gradient, a tuple of them in the order of the inputs, a NamedTuple or
    a dict; None stands for one that it leaves out.

    \b
        def my_softmax_backward(grad_p, p):
            return p * (grad_p - (grad_p * p).sum(1, keepdim=True))

    \b
        gradsmith check softmax --against mine.py:my_softmax_backward

    A mistake in one definition of a text is told, and the others are checked.

    Exit status: 0 where everything agrees, 1 where something does not, 2 for wrong usage or a
    mistake in a definition.
    """
    from derive import files
    from gradsmith.emitted import require_compiler
    from gradsmith.errors import UserError, excludes, reported

    if opinfo:
        excludes("--opinfo", "against", "as_json", "seed", "options")
    if against is None and options:
        raise UserError("--option goes with --against")
    if device is not None and not opinfo:
        raise UserError("--device goes with --opinfo")
    if device is not None and target == "c":
        raise UserError("--target c computes on the CPU alone: --device goes with --target torch")
    if against is not None:
        excludes("--against", "as_json", "target")
        if len(ops) != 1:
            raise UserError("--against takes exactly one OP")
    with reported():
        chosen, mistakes = files.chosen_each(definitions, ops)
        for mistake in mistakes:
            click.echo(f"Error: {mistake}", err=True)
        if not chosen:
            raise SystemExit(2)
        if against is not None:
            passed = _judge(chosen[0], against, seed, _values(options))
        else:
            if target == "c":
                require_compiler()
            passed = (
                _sampled(chosen, target, device or "cpu")
                if opinfo
                else _check_emitted(chosen, seed, target, as_json)
            )
    if mistakes:
        raise SystemExit(2)
    if not passed:
        raise SystemExit(1)


def _check_emitted(definitions: list[Definition], seed: int, target: str, as_json: bool) -> bool:
    from gradsmith.proof.check import check

    rows = []
    every = [v for d in definitions for v in d.variants]
    width = max(20, *(len(definition.full_name) for definition in every))
    for definition in every:
        found = check(definition, seed=seed, target=target)
        rows += found
        if not as_json:
            for row in found:
                click.echo(row.line(width))
        for problem in dict.fromkeys(p for row in found for p in row.problems):
            click.echo(f"{definition.full_name}: {problem}", err=True)
    if as_json:
        click.echo(json.dumps([row.as_json() for row in rows], indent=2))
    wrong = sum(not row.passed for row in rows)
    click.echo(f"{len(rows) - wrong} of {len(rows)} gradients agree", err=True)
    return wrong == 0


def _sampled(definitions: list[Definition], target: str, device: str) -> bool:
    from gradsmith.emitted import emitted
    from gradsmith.errors import UserError
    from gradsmith.proof.opinfo import count, entries, require_device

    require_device(device)
    sampled = [d for d in definitions if d.interface is not None and entries(d.name)]
    if not sampled:
        raise UserError(f"PyTorch has no samples for {', '.join(d.name for d in definitions)}")
    samples = agreed = 0
    for definition in sampled:
        public = getattr(emitted(definition, target), definition.name)
        result = count(definition.name, public, device)
        click.echo(result.line())
        for problem in result.problems[:_SHOWN]:
            click.echo(f"  {problem}", err=True)
        if len(result.problems) > _SHOWN:
            click.echo(f"  and {len(result.problems) - _SHOWN} more", err=True)
        samples += result.all.total()
        agreed += result.agreed.total()
    click.echo(f"{agreed} of {samples} samples agree", err=True)
    return agreed == samples


def _values(options: tuple[str, ...]) -> dict[str, float]:
    """From NAME=VALUE to a value by name."""
    from gradsmith.errors import UserError

    values: dict[str, float] = {}
    for option in options:
        name, _, written = option.partition("=")
        try:
            value = float(written)
        except ValueError:
            raise UserError(f"--option {option}: it takes NAME=VALUE, VALUE a number") from None
        values[name] = int(value) if value.is_integer() else value
    return values


def _judge(definition: Definition, against: str, seed: int, options: dict[str, float]) -> bool:
    from gradsmith.proof.against import judge, load

    verdicts = judge(definition, load(against), seed, options)
    for verdict in verdicts:
        click.echo(verdict.line())
    return all(verdict.agrees for verdict in verdicts)
