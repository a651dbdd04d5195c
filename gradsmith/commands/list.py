"""`gradsmith list`: the operations of the library."""

from __future__ import annotations

import click


@click.command(short_help="List the operations of the library.")
@click.option("--variants", is_flag=True, help="Every definition of each operation.")
def command(variants: bool) -> None:
    """List the operations of the library, one line each: the name and what it computes."""
    from derive import library

    found = [library.load(name) for name in library.names()]
    if variants:
        found = [variant for definition in found for variant in definition.variants]
    summaries = {definition.full_name: definition.summary for definition in found}
    width = max(map(len, summaries), default=0)
    for name, summary in summaries.items():
        click.echo(f"{name:<{width}}  {summary}")
