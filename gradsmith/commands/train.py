"""`gradsmith train`: exercise 4, from the notebook's initialisation to twenty new names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from gradsmith import options as shared
from gradsmith.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

DEFAULT_OUT = Path("runs/train")
REPORT_EVERY = 10_000


def _target(stated: str | None, backward: str) -> str:
    """What computes the gradients: autograd's are torch's."""
    from generated.c.loader import compiler
    from gradsmith.emitted import require_compiler

    if backward == "autograd":
        if stated == "c":
            raise UserError("--target c is for emitted gradients, not --backward autograd")
        return "torch"
    if stated == "c":
        require_compiler()
    return stated or ("c" if compiler() else "torch")


def _progress(console: Console, disable: bool) -> Progress:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TextColumn("{task.fields[rate]:.0f} steps/s"),
        TimeRemainingColumn(),
        console=console,
        disable=disable,
    )


@click.command(short_help="Train the character model with derived gradients.")
@click.option(
    "--steps",
    type=click.IntRange(1, 10**9),
    default=200_000,
    show_default=True,
    help="How many steps the run has in all.",
)
@click.option(
    "--backward",
    type=click.Choice(["generated", "chunked", "autograd"]),
    default="generated",
    show_default=True,
    help="Where the gradients come from: emitted code, of the simplified form (generated) or of "
    "every intermediate by itself (chunked); or autograd.",
)
@click.option(
    "--target",
    type=click.Choice(("c", "torch")),
    help="What computes them: loops in C, the default where a compiler is, or torch.",
)
@click.option(
    "--check-every",
    type=click.IntRange(min=1),
    metavar="N",
    help="Compare every gradient with autograd each N steps; exit 1 where one is wrong.",
)
@shared.names()
@click.option(
    "--seed",
    type=shared.SEED,
    default=0,
    show_default=True,
    help="Seeds torch's global generator, from which the batch-norm parameters are drawn.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_OUT,
    show_default=True,
    help="Folder for the checkpoints, metrics.json and loss.png.",
)
@click.option(
    "--checkpoint-every",
    type=click.IntRange(min=1),
    default=5000,
    show_default=True,
    metavar="N",
    help="Write a checkpoint each N steps.",
)
@click.option("--resume", is_flag=True, help="Go on from the newest whole checkpoint in --out.")
@click.option("--overwrite", is_flag=True, help="Discard the run that --out holds.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.pass_context
def command(
    ctx: click.Context,
    steps: int,
    backward: str,
    target: str | None,
    check_every: int | None,
    names: Path | None,
    seed: int,
    out: Path,
    checkpoint_every: int,
    resume: bool,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Train the notebook's model, calibrate its batch norm, and print losses and names.

    Results go to standard output; progress and messages to standard error. With --resume,
    options that are not given are the run's own, and the parameters at the end are those of an
    uninterrupted run, bit for bit. More --steps than it was begun with extend a run.
    """
    import torch
    from rich.console import Console

    from gradsmith.makemore import runs

    # At this size a second thread costs more than it brings, and may round otherwise.
    torch.set_num_threads(1)
    stated = frozenset(
        name
        for name in ("steps", "backward", "target", "seed", "names")
        if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT
    )
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    with runs.claimed(out), torch.no_grad():
        found, damaged = runs.earlier(out, resume, overwrite)
        target = _target(target, found.options.backward if found else backward)
        request = runs.Request(steps, backward, seed, names, target, stated)
        data, training = runs.begin(request, found)
        if resume:
            done = f"all {training.step} steps are done; --steps N goes on to more"
            state = done if training.finished else f"going on from step {training.step}"
            console.print(f"{out}: {state}")
        for file in damaged:
            console.print(f"{file.name} is damaged: passed over")
            file.unlink()
        if overwrite:
            runs.discard(out)
        console.quiet = quiet
        total = training.options.steps
        console.print(
            f"examples: {len(data.train)} train, {len(data.val)} val, {len(data.test)} test; "
            f"{training.parameters.elements()} parameters; {training.options.backward} gradients "
            f"in {training.options.target}"
        )
        with runs.kept_when_stopped(training, out):
            with _progress(console, disable=quiet or training.finished) as progress:
                bar = progress.add_task(
                    "", total=total, completed=training.step, loss=0.0, rate=0.0
                )
                for advance in runs.carry_on(training, out, check_every or 0, checkpoint_every):
                    for check in advance.checks:
                        console.print(check.line())
                    if advance.step % REPORT_EVERY == 0:
                        console.print(f"{advance.step:7d}/{total:7d}: {advance.loss:.4f}")
                    rate = training.steps_per_second
                    progress.update(bar, completed=advance.step, loss=advance.loss, rate=rate)
            results = runs.finish(training, data, out)
    click.echo(f"parameters {results.parameters}")
    for name in ("train", "val", "test"):
        loss = getattr(results, f"{name}_loss")
        click.echo(f"{name} {'-' if loss is None else loss}")
    for sample in results.samples:
        click.echo(sample)
    console.print(f"written: {', '.join(str(out / name) for name in (runs.METRICS, runs.CURVE))}")
