"""`gradsmith generate`: the emitted files, in step with their definitions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradsmith import options as shared

if TYPE_CHECKING:
    from codegen.writer import Change

LIBRARY_FOLDER = Path(__file__).parents[2] / "generated"


@click.command(short_help="Emit the code of operations, or check that it is in step.")
@click.argument("ops", metavar="[OP]...", nargs=-1)
@shared.definitions(
    "Take the operations from this file, .py or .grad; needs --out, unless it sets OUT = 'DIR'."
)
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write into this folder. The library's own is the default for the library alone.",
)
@shared.target(
    "PyTorch code; or beside it, in the folder c, loops in C with the modules that call them."
)
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if a file is out of step.")
@click.option("--fresh", is_flag=True, help="Derive everything again, also what did not change.")
@click.option("--diff", is_flag=True, help="Write nothing; show what would change as a diff.")
def command(
    ops: tuple[str, ...],
    definitions: Path | None,
    out: Path | None,
    target: str,
    check: bool,
    fresh: bool,
    diff: bool,
) -> None:
    """Emit the code of each OP, by default of every operation.

    Loops in C stand beside PyTorch code, which computes what they do not serve: for definitions of
    one's own, generate both into the same DIR and import DIR.c.OP.

    What was emitted before, from the same definition by the same program, is kept in the user's
    cache folder, and not derived again.

    Exit status: 0 where the files are in step (or now are), 1 where --check finds drift, 2 for
    wrong usage. When the whole library is generated, a file left over from an operation that is
    gone counts as drift, and is deleted.
    """
    from codegen.cache import Cache
    from codegen.pipeline import sources
    from codegen.writer import compare
    from derive import files
    from gradsmith.errors import UserError, reported
    from gradsmith.words import counted

    for op in ops:
        if "[" in op:
            whole = op.partition("[")[0]
            raise UserError(f"{op} is a variant: {whole} is written with all that it has")
    cache = None if fresh else Cache(_kept())
    with reported():
        chosen = files.chosen(definitions, ops)
        folder, run = _home(definitions, out)
        texts = {folder: sources(chosen, run, cache, processes=True)}
        if target == "c":
            texts[folder / "c"] = sources(chosen, _in_c(run), cache, "c", processes=True)
    whole = "derive/ops/" if not ops and definitions is None else ""
    changes = {place: compare(place, found, whole) for place, found in texts.items()}
    reading = check or diff
    for change in (c for found in changes.values() for c in found):
        if reading:
            click.echo(f"{change.kind}: {change.path}", err=True)
            if diff or change.kind != "missing":
                click.echo(change.diff, nl=False)
        elif change.is_anothers:
            raise UserError(
                f"{change.path} is not one of gradsmith's files, and is left as it is: "
                f"move it, or choose another --out"
            )
    if check and any(changes.values()):
        raise click.exceptions.Exit(1)
    for place, found in changes.items():
        total = counted(len(texts[place]), "file")
        written = 0 if reading else _written(place, found)
        if written:
            click.echo(f"{written} of {total} written in {place}", err=True)
        elif not (reading and found):
            click.echo(f"{total} in step in {place}", err=True)


def _written(place: Path, changes: list[Change]) -> int:
    """Carry out the changes in a folder, each told once it is; how many files were written."""
    from codegen.writer import apply
    from gradsmith.errors import UserError

    for change in changes:
        try:
            apply(change)
        except OSError as error:
            raise UserError(f"{place} cannot be written: {error.strerror}") from None
        click.echo(f"{_DONE[change.kind]}: {change.path}", err=True)
    return sum(change.new is not None for change in changes)


_DONE = {"missing": "new", "changed": "changed", "orphan": "deleted"}
"""What becomes of a file that is out of step."""


def _kept() -> Path:
    """Where emitted texts are kept."""
    from platformdirs import user_cache_path

    return user_cache_path("gradsmith") / "emitted"


def _in_c(run: str) -> str:
    """The same command for the C target; none for the library, whose own says it."""
    return run.replace("generate", "generate --target c", 1)


def _home(path: Path | None, out: Path | None) -> tuple[Path, str]:
    """The folder that what a file defines goes to, and the command that its headers name."""
    from gradsmith.errors import UserError

    if path is None:
        return out or LIBRARY_FOLDER, ""
    folder = out or _named_in(path)
    if folder is None:
        in_file = "" if path.suffix == ".grad" else ", or OUT = 'DIR' in the file"
        raise UserError(f"--definitions {path} needs --out DIR{in_file}")
    if folder.resolve() == LIBRARY_FOLDER.resolve():
        raise UserError(f"--out {folder} is the library's own folder; choose another")
    return folder, f"gradsmith generate --definitions {path.name}"


def _named_in(path: Path) -> Path | None:
    """The folder that a Python file names as OUT, relative to the file; a text names none."""
    from derive.files import TEXT, execute

    if path.suffix == TEXT:
        return None
    named = getattr(execute(path), "OUT", None)
    return path.parent / str(named) if named is not None else None
