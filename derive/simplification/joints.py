"""Which cotangents inside a group are named after all.

A group is written out whole, since that is where terms cancel and sums turn out to be known. Where
several groups' worth of lets stand one behind another, as two normalisations do or the steps of an
iteration, nothing cancels between them: what arrives at the one in the middle is then repeated
wherever that was read, and sums stand inside sums. It is named there, as a person would name it: at
the lets that several others read, those over the most letters first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from sympy import Add, Basic

from derive.language.definition import Definition, Let
from derive.language.expressions import names_used
from derive.simplification.task import Task

PAGE = 40
"""As many nodes of expressions, repeated, are too much to read again."""


def nameable(task: Task, definition: Definition) -> frozenset[str]:
    """The definition's lets whose cotangents could be named besides, and would be what they are in
    the chain rule: those that no proposal keeps from a reader, and none gives another one."""
    read: dict[str, set[str]] = {}
    for let in task.lets:
        names = names_used(let.value)
        proposals = (read[name] for name in names & task.proposed)
        read[let.name] = names.union(*proposals)
    return frozenset(
        let.name
        for let in definition.lets
        if let.name in task.parts.group.keys() - task.parts.joints
        and all(
            (let.name in names_used(o.value)) == (let.name in read[o.name]) for o in definition.lets
        )
    )


def accumulating(task: Task, definition: Definition) -> frozenset[str]:
    """Of the lets whose cotangents could be named, those that several others read, over the most
    letters."""
    names = nameable(task, definition)
    several = {name for name in names if len(task.users.get(name, ())) > 1}
    found = [let.tensor for let in definition.lets if let.name in several]
    most = max((len(t.indices) for t in found), default=0)
    return frozenset(t.name for t in found if len(t.indices) == most)


def written(lets: Iterable[Let]) -> int:
    """How many nodes the values of some lets have, as they are printed."""
    return sum(_nodes(let.value) for let in lets)


def repeated(lets: Iterable[Let]) -> int:
    """How many nodes are printed again of sums of terms that cotangents arrive in."""
    found: Counter[Basic] = Counter()

    def visit(expr: Basic) -> None:
        if isinstance(expr, Add) and any(n.startswith("grad_") for n in names_used(expr)):
            found[expr] += 1
            if found[expr] > 1:
                return
        for inner in expr.args:
            visit(inner)

    for let in lets:
        visit(let.value)
    return sum((times - 1) * _nodes(expr) for expr, times in found.items())


def _nodes(expr: Basic) -> int:
    return 1 + sum(map(_nodes, expr.args))
