"""What is the user's to put right, as against what failed or differs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click
from click.core import ParameterSource


class UserError(click.ClickException):
    """One line that names the thing, what it got and what it wanted; exit status 2."""

    exit_code = 2


class Failure(click.ClickException):
    """Something failed that was asked correctly; exit status 1."""

    exit_code = 1


@contextmanager
def reported() -> Iterator[None]:
    """What goes wrong with a definition, from its text to its code, said as a command says it."""
    from codegen.program import CodegenError
    from derive import DefinitionError
    from derive.verification.arithmetic import Undefined
    from derive.verification.verify import VerificationError

    try:
        yield
    except (DefinitionError, Undefined) as error:
        raise UserError(str(error)) from None
    except CodegenError as error:
        raise Failure(str(error)) from None
    except VerificationError as error:
        raise Failure(
            f"a derivation went wrong, which is a mistake in gradsmith: {error}"
        ) from None


def excludes(option: str, *others: str) -> None:
    """Refuse the others, by their parameters' names, beside an option of the running command. One
    that is turned off, as by `--no-compile`, asks for nothing.

    Raises:
        UserError: one of them was given, and would be of no use.
    """
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if name in others and given and context.params[name] is not False:
            raise UserError(f"{option} excludes {parameter.opts[0]}")
