"""`gradsmith show`: a derivation on a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from derive import Definition


@click.command(short_help="Show a definition, its derivation and its simplified gradient.")
@click.argument("op", metavar="OP")
@click.option("--wrt", metavar="INPUT", multiple=True, help="Only the gradient of this input.")
@click.option("--steps", is_flag=True, help="The derivation, with the rule named at each step.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "latex"]),
    default="text",
    show_default=True,
    help="Plain text, or a LaTeX document.",
)
@click.option(
    "--definitions",
    metavar="FILE.py",
    type=click.Path(path_type=Path),
    help="Take OP from this file instead of the library.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file."
)
def command(
    op: str,
    wrt: tuple[str, ...],
    steps: bool,
    form: str,
    definitions: Path | None,
    output: Path | None,
) -> None:
    """Show the definition of OP, its simplified gradient, and what that costs.

    The cost stands beside that of the chunked form, in which every intermediate has its own
    gradient: passes over the largest tensor, reductions, and the tensors kept for the backward.
    """
    from derive import DefinitionError
    from derive.arithmetic import Undefined
    from derive.derivation import derive
    from derive.report import as_latex, as_text
    from derive.verify import VerificationError
    from gradsmith.errors import Failure, UserError

    try:
        definition = _find(op, definitions)
        if wrt:
            definition = definition.with_wrt(*wrt)
    except DefinitionError as error:
        raise UserError(str(error)) from None
    try:
        derivation = derive(definition)
    except Undefined as error:
        raise UserError(str(error)) from None
    except VerificationError as error:
        raise Failure(
            f"a derivation went wrong, which is a mistake in gradsmith: {error}"
        ) from None
    page = as_latex(derivation, steps) if form == "latex" else as_text(derivation, steps)
    if output is None:
        click.echo(page, nl=False)
        return
    try:
        output.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}") from None


def _find(op: str, definitions: Path | None) -> Definition:
    from derive import DefinitionError, library

    if definitions is None:
        return library.load(op)
    found = library.load_file(definitions)
    if op not in found:
        raise DefinitionError(f"{definitions} has no operation {op!r}; it has {', '.join(found)}")
    return found[op]
