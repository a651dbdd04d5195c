"""Names for what a maximum is made of, so that it is a gather at a tensor of indices.

    y[n] = max_k(x[n,k])             ->  y_argmax[n] = argmax_k(x[n,k])
                                         y[n]        = x[n,y_argmax[n]]
    y[n] = max_k(sum_i(w[n,i,k]))    ->  y_each[n,k] = sum_i(w[n,i,k])
                                         y[n]        = max_k(y_each[n,k])

A sum is worked out for every place anyway, to find the largest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from sympy import Expr, default_sort_key

from derive.language.definition import Let, Tensor
from derive.language.expressions import ArgMax, Binder, Sum, free_indices, fresh_names
from derive.language.substitute import replace_exactly


def parted(
    tensor: Tensor, value: Expr, lets: Iterable[Let], axes: Collection[str], taken: Iterable[str]
) -> tuple[Expr, list[Let]]:
    """The value of a new let with every argmax in it read from a let, and those lets that are new.

    Only what is over the letters of `axes` can have a name; with a second letter over one of them
    it stays where it is written.
    """
    named, new, taken = {let.value: let.tensor for let in lets}, list[Let](), {*taken}

    def called(part: Expr, word: str) -> Expr:
        if part not in named:
            (fresh,) = fresh_names([f"{tensor.name}_{word}"], taken)
            found = free_indices(part)
            rest = sorted(found.difference(tensor.indices), key=lambda i: i.name)
            letters = (*(i for i in tensor.indices if i in found), *rest)
            named[part] = Tensor(fresh, letters, integer=isinstance(part, ArgMax))
            new.append(Let(named[part], part))
            taken.add(fresh)
        return named[part].element

    while argmaxes := _over(value, ArgMax, axes):
        argmax = argmaxes[0]
        sums = [s for s in _over(argmax.body, Sum, axes) if argmax.bound_symbols & free_indices(s)]
        if sums:
            total, element = sums[0], called(sums[0], "each")
            largest = dict.fromkeys(argmax.indices, argmax)
            value = replace_exactly(value, total.xreplace(largest), element.xreplace(largest))
            value = replace_exactly(value, total, element)
        else:
            value = replace_exactly(value, argmax, called(argmax, "argmax"))
    return value, new


def _over(expr: Expr, kind: type[Binder], axes: Collection[str]) -> list[Any]:
    """The argmaxes or sums in an expression whose free letters are axes, the innermost first."""
    found = [e for e in expr.atoms(kind) if {i.name for i in free_indices(e)} <= {*axes}]
    return sorted(found, key=lambda e: (len(e.atoms(kind)), default_sort_key(e)))
