"""`gradsmith new`: a definition to start from."""

from __future__ import annotations

from pathlib import Path

import click

SCAFFOLD = '''\
"""{name}: say here what it computes, and where it comes from."""

from derive import Mean, define, sqrt

op = define("{name}", "Columns centred over n, then scaled to a root mean square of one.")
n, c = op.axes("n c")
x, weight = op.input("x", n, c), op.input("weight", c)
eps = op.option("eps", 1e-5, positive=True)

# One let a line: a name, the letters of its axes, and its value in index notation.
mean = op.let("mean", [c], Mean(x[n, c], n))
centred = op.let("centred", [n, c], x[n, c] - mean[c])
rms = op.let("rms", [c], sqrt(Mean(centred[n, c] ** 2, n) + eps))
y = op.let("y", [n, c], weight[c] * centred[n, c] / rms[c])

{name} = op.build(y)
'''


@click.command(short_help="Write a definition to start from.")
@click.argument("op", metavar="OP")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
def command(op: str, file: Path | None) -> None:
    """Write a definition of OP to start from, which works as it is, to FILE (OP.py by default).

    A file that exists is never overwritten.
    """
    from derive import define
    from gradsmith.errors import UserError, reported

    with reported():
        define(op, "checks the name")
    file = file or Path(f"{op}.py")
    if file.suffix != ".py":
        raise UserError(f"{file}: a definition in Python wants a name that ends in .py")
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(SCAFFOLD.format(name=op))
    except FileExistsError:
        raise UserError(f"{file} exists and is left as it is") from None
    except OSError as error:
        raise UserError(f"{file} cannot be written: {error.strerror}") from None
    click.echo(file)
    click.echo(f"gradsmith show {op} --definitions {file}   # its gradient", err=True)
