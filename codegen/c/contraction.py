"""A contraction as a product of matrices: which letters are its rows, its columns, its depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sympy import Expr

from codegen.c.nests import Contraction
from derive.language.expressions import Index


@dataclass(frozen=True)
class Product:
    """`out[m, n] = sum_k left[m, k] * right[k, n]`, for every value of the letters `around`.

    Each of the three is a run of letters that lie next to each other, and so count as one.
    """

    rows: tuple[Index, ...]
    columns: tuple[Index, ...]
    depth: tuple[Index, ...]
    around: tuple[Index, ...]
    left: tuple[str, tuple[Expr, ...]]
    right: tuple[str, tuple[Expr, ...]]


def product_of(node: Contraction) -> Product:
    """The product of matrices that a contraction is."""
    one = node.statement
    operands = [(e.tensor_name, tuple(e.indices)) for e in (node.left, node.right)]
    out = one.at
    if out[-1] in operands[0][1] and out[-1] not in operands[1][1]:
        operands.reverse()
    (_, left), (_, right) = operands
    rows = _last_run([i for i in out if i not in right], out, left)
    columns = _last_run([i for i in out if i not in left], out, right)
    depth = depth_of(one.bound, left, right)
    assert depth is not None, "a contraction's bound letters are one run"
    around = tuple(i for i in out if isinstance(i, Index) and i not in (*rows, *columns))
    return Product(rows, columns, depth, around, operands[0], operands[1])


def depth_of(
    bound: Sequence[Index], left: Sequence[Expr], right: Sequence[Expr]
) -> tuple[Index, ...] | None:
    """The bound letters as one run in both tensors; None where they are none."""
    ordered = [i for i in left if i in bound]
    run = _last_run(ordered, left, right)
    return run if len(run) == len(bound) else None


def _last_run(
    letters: Sequence[Expr], first: Sequence[Expr], second: Sequence[Expr]
) -> tuple[Index, ...]:
    """The last of some letters, with those that stand right before them in both tensors."""
    run: list[Index] = []
    for letter in reversed(letters):
        assert isinstance(letter, Index)
        if run and not (_follows(letter, run[0], first) and _follows(letter, run[0], second)):
            break
        run.insert(0, letter)
    return tuple(run)


def _follows(letter: Index, next: Index, indices: Sequence[Expr]) -> bool:
    place = list(indices).index(letter)
    return list(indices)[place + 1 : place + 2] == [next]
