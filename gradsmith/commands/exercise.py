"""`gradsmith exercise`: the notebook's comparison tables, from emitted gradients."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gradsmith import options as shared

NUMBERS = ("1", "2", "3", "4")


@click.command(short_help="Print the comparison table of one of the notebook's exercises.")
@click.argument("number", type=click.Choice(NUMBERS))
@shared.names()
@click.option(
    "--seed",
    type=shared.SEED,
    default=0,
    show_default=True,
    help="Seeds torch's global generator, from which the batch-norm parameters are drawn.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, one object a gradient.")
def command(number: str, names: Path | None, seed: int, as_json: bool) -> None:
    """Hold emitted gradients against autograd of the notebook's own forward pass.

    \b
    1  every intermediate and parameter, one by one (n_hidden 64)
    2  through cross-entropy, in one go
    3  through batch norm, in one go
    4  every parameter, after 100 training steps (n_hidden 200)

    Exit status: 0 where every gradient is approximately autograd's, or else about as near as
    autograd's is to the one in float64; 1 where one is not.
    """
    import torch

    from gradsmith.makemore import dataset
    from gradsmith.makemore.exercises import EXERCISES

    torch.set_num_threads(1)
    result = EXERCISES[int(number)](dataset.load(names), seed)
    if as_json:
        click.echo(json.dumps([row.as_json() for row in result.comparisons], indent=2))
    else:
        if result.forward:
            click.echo(result.forward)
        for row in result.comparisons:
            click.echo(row.line())
    if not result.passed:
        raise SystemExit(1)
