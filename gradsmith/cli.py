"""The command line: a table of commands, each imported only when it is called.

Importing torch or SymPy costs more than most commands' own work, so neither is imported to
print a help text or to complete a word.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module, metadata
from typing import Any, NamedTuple, NoReturn

import click
from click.shell_completion import CompletionItem

from gradsmith.errors import Failure

UNREAD = 128 + 13
"""The exit status where nobody reads on: that of a program which SIGPIPE has ended."""


class Entry(NamedTuple):
    """One command: its name, and what `gradsmith --help` says of it."""

    name: str
    summary: str

    def load(self) -> click.Command:
        """Import the command's module, which holds it under the name `command`."""
        return import_module(f"gradsmith.commands.{self.name}").command


COMMANDS = (
    Entry("list", "List the operations of the library, or of a file."),
    Entry("new", "Write a definition to start from, which works as it is."),
    Entry("show", "Show a definition, its derivation step by step, and its simplified gradient."),
    Entry("docs", "Write a static site: a page for every operation, and an index to search."),
    Entry("playground", "Type a definition in a browser, and see its gradient as you type."),
    Entry("generate", "Emit the code of operations, in PyTorch or C, or check that it is in step."),
    Entry("check", "Hold derived gradients, or a hand-written one, against autograd."),
    Entry("exercise", "Print the comparison table of one of the notebook's four exercises."),
    Entry("train", "Train the character model with derived gradients."),
    Entry("sample", "Sample names from a trained model."),
    Entry("evaluate", "Print the losses of a trained model."),
    Entry("bench", "Time generated code against autograd, fused operators and torch.compile."),
)


class Commands(click.Group):
    """A group whose commands stand in a table until one is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [entry.name for entry in COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return next((entry.load() for entry in COMMANDS if entry.name == cmd_name), None)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, which says that there is no such command; the nearest one beside it."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise click.UsageError(f"{error.message}{hint}", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(entry.name, entry.summary) for entry in COMMANDS])

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command; a full disk is said in a line, wherever it was met."""
        try:
            with _as_long_as_read():
                return super().main(*args, **kwargs)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise
            where = f"{error.filename}: " if error.filename else ""
            click.echo(f"Error: {where}{error.strerror}", err=True)
            _leave(Failure.exit_code)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _as_long_as_read():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        with _as_long_as_read():
            return super().invoke(ctx)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        return [
            CompletionItem(entry.name, help=entry.summary)
            for entry in COMMANDS
            if entry.name.startswith(incomplete)
        ]


@contextmanager
def _as_long_as_read() -> Iterator[None]:
    """End quietly where nobody reads on, as in `gradsmith list | head -1`.

    Click's own `main`, which would call it a failure, is not left to meet it.
    """
    try:
        yield
    except BrokenPipeError:
        _leave(UNREAD)


def _leave(status: int) -> NoReturn:
    """Exit without what is still to be written: it would be tried, and fail, once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    sys.exit(status)


def _print_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"gradsmith {metadata.version('gradsmith')}")
        ctx.exit()


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version and exit.",
)
def main() -> None:
    """Derive gradients from index notation, verify them, and emit them as PyTorch code or C.

    Exit status: 0 where all is well, 1 where something differs or failed, 2 for wrong usage, 141
    if the reader of a pipe has exited.
    """
