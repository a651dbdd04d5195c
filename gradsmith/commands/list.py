"""`gradsmith list`: the operations of the library."""

from __future__ import annotations

import click


@click.command(short_help="List the operations of the library.")
def command() -> None:
    """List the operations of the library, one line each: the name and what it computes."""
    from derive import library

    summaries = {name: library.load(name).summary for name in library.names()}
    width = max(map(len, summaries), default=0)
    for name, summary in summaries.items():
        click.echo(f"{name:<{width}}  {summary}")
