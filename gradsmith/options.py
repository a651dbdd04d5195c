"""What several commands take; what it means to each is said there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

SEED = click.IntRange(0, 2**64 - 1)
"""What seeds a generator of torch: 64 bits."""

Decorator = Callable[[Any], Any]


def target(help: str) -> Decorator:
    """`--target`, what is emitted: PyTorch code unless C is asked for."""
    kinds = click.Choice(("torch", "c"))
    return click.option("--target", type=kinds, default="torch", show_default=True, help=help)


def definitions(help: str) -> Decorator:
    """`--definitions`, a user's file of definitions, Python or text."""
    return click.option("--definitions", metavar="FILE", type=click.Path(path_type=Path), help=help)


def names(help: str = "A file of names, one a line, instead of data/names.txt.") -> Decorator:
    """`--names`, what the character model is trained on."""
    return click.option("--names", type=click.Path(path_type=Path), help=help)


def as_json(of: str) -> Decorator:
    """`--json`, a list of objects on standard output instead of a table."""
    return click.option(
        "--json", "as_json", is_flag=True, help=f"Print a JSON list, one object a {of}."
    )
