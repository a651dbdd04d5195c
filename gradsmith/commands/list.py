"""`gradsmith list`: the operations of the library, or of a file."""

from __future__ import annotations

from pathlib import Path

import click

from gradsmith import options as shared


@click.command(short_help="List the operations of the library, or of a file.")
@shared.definitions("The operations of this file, .py or .grad, instead of the library's.")
@click.option(
    "--variants", is_flag=True, help="Each variant of an operation too, as in mse_loss[sum]."
)
def command(definitions: Path | None, variants: bool) -> None:
    """List the operations of the library, or of a file, each with what it computes."""
    from derive import Definition, files, library
    from gradsmith.errors import reported

    with reported():
        everything = (
            {name: library.load(name) for name in library.names()}
            if definitions is None
            else files.load_each(definitions)
        )
    found = [one for one in everything.values() if isinstance(one, Definition)]
    if variants:
        found = [variant for definition in found for variant in definition.variants]
    summaries = {definition.full_name: definition.summary for definition in found}
    width = max(map(len, summaries), default=0)
    for name, summary in summaries.items():
        click.echo(f"{name:<{width}}  {summary}")
    with reported():
        for one in everything.values():
            if not isinstance(one, Definition):
                raise one
