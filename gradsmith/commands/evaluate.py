"""`gradsmith evaluate`: the losses of a trained model."""

from __future__ import annotations

from pathlib import Path

import click

from gradsmith import options as shared


@click.command(short_help="Print the losses of a trained model.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@shared.names("A file of other names than those it was trained on, one a line.")
def command(folder: Path, names: Path | None) -> None:
    """Print the train, validation and test loss of the newest checkpoint of a run in DIR."""
    import torch

    from gradsmith.makemore import dataset, runs

    torch.set_num_threads(1)
    found = runs.newest(folder)
    data = dataset.load(names, found.vocabulary) if names else runs.names_of(found)
    with torch.no_grad():
        model = runs.model_of(found)
        for name, split in (("train", data.train), ("val", data.val), ("test", data.test)):
            loss = model.loss(split)
            click.echo(f"{name} {'-' if loss is None else loss}")
