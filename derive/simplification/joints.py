"""Which cotangents inside a group are named after all.

A group is written out whole, since that is where terms cancel and sums turn out to be known. Where
several groups' worth of lets stand one behind another, as two normalisations do or the steps of an
iteration, nothing cancels between them: what arrives at the one in the middle is then repeated
wherever that was read, and sums stand inside sums. It is named there, as a person would name it: at
the lets that several others read, or that read several, those over the most letters first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from sympy import Add, Basic, preorder_traversal

from derive.language.cotangents import cotangents_in
from derive.language.definition import Definition, Let
from derive.language.expressions import Where, names_used
from derive.simplification.task import Task

PAGE = 80
"""As many nodes of expressions, repeated, are too much to read again."""


def nameable(task: Task, definition: Definition) -> frozenset[str]:
    """The definition's lets whose cotangents could be named besides, and would be what they are in
    the chain rule: their readers still read them, and nothing is written in them that was not."""
    read: dict[str, set[str]] = {}
    for let in task.lets:
        names = names_used(let.value)
        proposals = (read[name] for name in names & task.proposed)
        read[let.name] = names.union(*proposals)
    own = {let.name: names_used(let.value) for let in definition.lets}
    return frozenset(
        name
        for name in own
        if name in task.parts.group.keys() - task.parts.joints
        and all(_is_read_as_before(name, reader, own, read[reader]) for reader in own)
    )


def _is_read_as_before(name: str, reader: str, own: Mapping[str, set[str]], read: set[str]) -> bool:
    """Whether a let reads another where it did, or now in place of one that was made of it: not
    where it could have written it itself."""
    if (name in own[reader]) == (name in read):
        return True
    besides, left = set[str](), [reader]
    while left:
        for other in own.get(left.pop(), set()) - besides:
            besides.add(other)
            left += [other] if other != name else []
    return name in read and name in besides and not own[name] <= besides


def accumulating(task: Task, definition: Definition) -> frozenset[str]:
    """Of the lets whose cotangents could be named, those over the most letters that several others
    read, or that read several."""
    on_path = {tensor.name for tensor in task.tensors}
    names = nameable(task, definition)
    found = [
        let.tensor
        for let in definition.lets
        if let.name in names
        if len(task.users.get(let.name, ())) > 1 or len(names_used(let.value) & on_path) > 1
    ]
    most = max((len(t.indices) for t in found), default=0)
    return frozenset(t.name for t in found if len(t.indices) == most)


def written(lets: Iterable[Let]) -> int:
    """How many nodes the values of some lets have, as they are printed."""
    return sum(_nodes(let.value) for let in lets)


def repeated(lets: Iterable[Let]) -> int:
    """How many nodes are printed again of sums of terms that cotangents arrive in."""
    found: Counter[Basic] = Counter()

    def visit(expr: Basic) -> None:
        if isinstance(expr, Add) and cotangents_in(expr):
            found[expr] += 1
            if found[expr] > 1:
                return
        for inner in expr.args:
            visit(inner)

    for let in lets:
        visit(let.value)
    return sum((times - 1) * _nodes(expr) for expr, times in found.items())


def choice_repeated(lets: Iterable[Let]) -> bool:
    """Whether a choice is printed again."""
    found: Counter[Basic] = Counter()
    for let in lets:
        found.update(e for e in preorder_traversal(let.value) if isinstance(e, Where))
    return any(times > 1 for times in found.values())


def _nodes(expr: Basic) -> int:
    return 1 + sum(map(_nodes, expr.args))
