"""`gradsmith docs`: web pages for every operation, and one to find them."""

from __future__ import annotations

from pathlib import Path

import click

from gradsmith import options as shared


@click.command(short_help="Write a static site: pages for every operation, and an index.")
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("gradsmith-docs"),
    show_default=True,
    help="Write into this folder.",
)
@shared.definitions("The operations of this file, .py or .grad, instead of the library's.")
@click.option("--open", "show", is_flag=True, help="Open the index in a browser.")
def command(out: Path, definitions: Path | None, show: bool) -> None:
    """Write a page for every definition of every operation, and an index that finds them.

    The pages need no server and no network: open index.html from where it stands.
    """
    import time

    from derive import files
    from gradsmith.errors import UserError, reported
    from gradsmith.pages import site
    from gradsmith.words import counted

    began = time.monotonic()
    written = 0
    with reported():
        chosen = files.chosen(definitions, ())
        try:
            for file in site.write(chosen, out):
                click.echo(file, err=True)
                written += 1
        except OSError as error:
            raise UserError(f"{out} cannot be written: {error.strerror}") from None
    click.echo(out / site.INDEX)
    said = f"{counted(written - 1, 'page')} of {counted(len(chosen), 'operation')}"
    click.echo(f"{said} in {time.monotonic() - began:.1f} s", err=True)
    if show:
        click.launch((out / site.INDEX).resolve().as_uri())
