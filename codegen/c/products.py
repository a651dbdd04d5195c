"""A product of matrices as a call of `contract`, for each value of the letters around it."""

from __future__ import annotations

from collections.abc import Sequence

from sympy import Expr, S

from codegen.c.contraction import product_of
from codegen.c.expressions import Printer
from codegen.c.lines import Lines, loop_over
from codegen.c.memory import Array, Memory
from codegen.c.nests import Contraction
from derive.language.expressions import Index


def multiplied(node: Contraction, memory: Memory, printer: Printer) -> Lines:
    """The lines that compute a product of matrices into the array of its result."""
    product = product_of(node)
    one = node.statement
    arrays = [memory.array(name) for name in (product.left[0], product.right[0])]
    out = memory.array(one.tensor.name)
    zero = dict.fromkeys((*product.rows, *product.columns, *product.depth), S.Zero)

    def first(array: Array, indices: Sequence[Expr]) -> str:
        at = [i.xreplace(zero) for i in indices]
        return "&" + array.at(at, printer) if any(i != 0 for i in at) else array.name

    def step(letters: Sequence[Index], indices: Sequence[Expr], extents: Sequence[str]) -> str:
        place = list(indices).index(letters[-1])
        return " * ".join(extents[place + 1 :]) or "1"

    (_, left), (_, right) = product.left, product.right
    counts = [
        " * ".join(i.size.name for i in run)
        for run in (product.rows, product.columns, product.depth)
    ]
    call = [
        f"contract(threads, {', '.join(counts)},",
        f"         {first(arrays[0], left)}, {step(product.rows, left, arrays[0].extents)}, "
        f"{step(product.depth, left, arrays[0].extents)},",
        f"         {first(arrays[1], right)}, {step(product.depth, right, arrays[1].extents)}, "
        f"{step(product.columns, right, arrays[1].extents)},",
        f"         {first(out, one.at)}, {step(product.rows, one.at, out.extents)}, "
        f"{step(product.columns, one.at, out.extents)});",
    ]
    for index in reversed(product.around):
        call = loop_over(index, "0", index.size.name, call)
    return call
