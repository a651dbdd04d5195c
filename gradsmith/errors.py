"""What is the user's to put right, as against what failed or differs."""

from __future__ import annotations

import click


class UserError(click.ClickException):
    """One line that names the thing, what it got and what it wanted; exit status 2."""

    exit_code = 2


class Failure(click.ClickException):
    """Something failed that was asked correctly; exit status 1."""

    exit_code = 1
