"""`gradsmith show`: a derivation on a page."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING

import click

from gradsmith import options as shared

if TYPE_CHECKING:
    from derive import Definition

CODE = ("torch", "c")
FORMATS = ("text", "latex", "html", "pdf", "json", *CODE)
_BY_ENDING = {
    ".tex": "latex",
    ".html": "html",
    ".htm": "html",
    ".pdf": "pdf",
    ".json": "json",
    ".py": "torch",
    ".c": "c",
}
"""What a file is written as, by how its name ends."""


@click.command(short_help="Show a definition, its derivation and its simplified gradient.")
@click.argument("op", metavar="[OP]", required=False)
@click.option(
    "--wrt",
    metavar="INPUT",
    multiple=True,
    help="Only the gradient of this input; may be repeated.",
)
@click.option(
    "--order",
    type=click.IntRange(1, 2),
    default=1,
    show_default=True,
    help="2: the backward pass as a definition, and its own gradient.",
)
@click.option(
    "--steps/--no-steps",
    default=None,
    help="The derivation, with the rule named at each step; the default for html, pdf and json.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Plain text, a LaTeX document, a web page, a PDF made by LaTeX, data; or what is emitted: "
    "PyTorch code, loops in C.  [default: by the ending of FILE, else text]",
)
@click.option("--fragment", is_flag=True, help="LaTeX or HTML to put into a page of one's own.")
@shared.definitions("Take OP from this file, .py or .grad, instead of the library.")
@click.option("--text", metavar="DEFINITION", help="A definition in index notation, as it is.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file.",
)
def command(
    op: str | None,
    wrt: tuple[str, ...],
    order: int,
    steps: bool | None,
    form: str | None,
    fragment: bool,
    definitions: Path | None,
    text: str | None,
    output: Path | None,
) -> None:
    """Show the definition of OP, its simplified gradient, and what that costs.

    The cost stands beside that of the chunked form, in which every intermediate has its own
    gradient: passes over the largest tensor, reductions, and the tensors kept for the backward.

    \b
    gradsmith show batch_norm --steps
    gradsmith show batch_norm -o batch_norm.html
    gradsmith show 'cross_entropy[sum]'
    gradsmith show tanh --order 2
    gradsmith show softmax --format torch
    gradsmith show --text 'y[n,k] = exp(x[n,k]) / sum_k(exp(x[n,k]))'
    """
    from gradsmith.errors import UserError, reported

    form = form or _BY_ENDING.get("" if output is None else output.suffix.lower(), "text")
    if fragment and form not in ("latex", "html"):
        raise UserError(f"--fragment is for --format latex and html, not {form}")
    if form in CODE and steps is not None:
        raise UserError(f"--steps is for the formats of a derivation, not {form}")
    if form == "pdf" and output is None:
        raise UserError("--format pdf needs -o FILE")
    if output is not None and definitions is not None and output.resolve() == definitions.resolve():
        raise UserError(f"-o {output} would take the place of the definitions")
    steps = form in ("html", "pdf", "json") if steps is None else steps
    with reported():
        definition = _find(op, definitions, text)
        if order == 2:
            definition = _backward_of(definition)
        if wrt:
            definition = definition.with_wrt(*wrt)
        columns = _columns() if output is None else None
        content = _page(definition, form, steps, fragment, columns)
        if form == "text" and order == 1:
            content = f"{content}{_kept(definition)}"
    if output is None:
        click.echo(content, nl=False)
        return
    from codegen.writer import write_whole

    try:
        write_whole(output, content if isinstance(content, bytes) else content.encode())
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}") from None


def _columns() -> int | None:
    """How wide the terminal is that is written to; None where it is none."""
    if not sys.stdout.isatty():
        return None
    return max(_LEAST_COLUMNS, get_terminal_size().columns)


_LEAST_COLUMNS = 40


def _page(
    definition: Definition, form: str, steps: bool, fragment: bool, columns: int | None
) -> str | bytes:
    """The derivation in a format; what a format does not need is not imported."""
    from derive.derivation import derive

    if form == "html":
        from gradsmith.pages.html import operation
        from gradsmith.pages.page import page

        return operation(page(definition), steps=steps, fragment=fragment)
    if form in CODE:
        from codegen.pipeline import sources

        definition = replace(definition, interface=None)  # the usual variant alone
        files = sources([definition], target=form)
        return files[f"{definition.name}.{'c' if form == 'c' else 'py'}"]
    derivation = derive(definition)
    if form == "text":
        from derive.printing.report import as_text

        return as_text(derivation, steps, columns)
    if form == "json":
        import json

        from derive.printing.data import as_data

        return json.dumps(as_data(derivation, steps), indent=2) + "\n"
    from derive.printing.paper import as_latex

    document = as_latex(derivation, steps, fragment)
    if form == "latex":
        return document
    from gradsmith.pages.pdf import pdf

    return pdf(document)


def _kept(definition: Definition) -> str:
    """What the emitted forward pass keeps, where it works ahead of what the formulas read."""
    from codegen.lowering.lower import lower
    from codegen.lowering.second_order import with_second_order
    from derive.derivation import derive

    derivation = derive(definition)
    module = lower(derivation, ahead=True)
    kept = [tensor.name for tensor in module.residuals.tensors]
    if {*kept} == {tensor.name for tensor in derivation.residuals()}:
        return ""
    again = [tensor.name for tensor in with_second_order(module, derivation).again]
    besides = f"; {', '.join(again)} for second derivatives" if again else ""
    return (
        "\nKept by the emitted forward pass, which works ahead\n"
        f"  {', '.join(kept) or 'none'}{besides}\n"
    )


def _backward_of(definition: Definition) -> Definition:
    """The backward pass that was derived, as a definition to differentiate."""
    from derive.calculus.backward import backward_of
    from derive.derivation import derive

    return backward_of(derive(definition))


def _find(op: str | None, definitions: Path | None, text: str | None) -> Definition:
    """The definition that was asked for: by name, from a file, or as text."""
    from derive import library
    from derive.files import load_each, named
    from derive.notation.reading import read_each
    from gradsmith.errors import UserError

    if sum((definitions is not None, text is not None)) > 1:
        raise UserError("--text and --definitions exclude each other")
    if text is None and definitions is None:
        if op is None:
            raise UserError("show needs OP, the name of an operation, or --text, or --definitions")
        return library.load(op)
    where = "the text" if definitions is None else str(definitions)
    if definitions is None:
        found = read_each(text or "", library.load, "<text>")
    else:
        found = load_each(definitions)
    if op is None and len(found) > 1:
        raise UserError(f"{where} defines {', '.join(found)}: show needs the name of one")
    return named(op or next(iter(found)), found, where)
