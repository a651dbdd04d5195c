"""`gradsmith sample`: names from a trained model."""

from __future__ import annotations

from pathlib import Path

import click

from gradsmith import options as shared


@click.command(short_help="Sample names from a trained model.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--count",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="How many names.",
)
@click.option(
    "--seed",
    type=shared.SEED,
    help="Draw from a generator of this seed, not from where the run's own stands.",
)
def command(folder: Path, count: int, seed: int | None) -> None:
    """Print names sampled from the newest checkpoint of a run in DIR.

    Without --seed they begin with the names that `train` printed at its end.
    """
    import torch

    from gradsmith.makemore import runs

    torch.set_num_threads(1)
    found = runs.newest(folder)
    g = found.generator() if seed is None else torch.Generator().manual_seed(seed)
    with torch.no_grad():
        model = runs.model_of(found)
        for _ in range(count):
            click.echo(model.sample(found.vocabulary, g))
