"""Which cotangents keep their names, and which lets are simplified together.

A cotangent is named where it meets a contraction, where a unit begins or ends, and where
its gradient is asked for. Between named cotangents everything is substituted, and the
lets in between form one group, simplified jointly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from derive.calculus.contractions import has_contraction
from derive.language.definition import Definition, Let, Tensor
from derive.language.expressions import names_in


@dataclass(frozen=True)
class Partition:
    """`joints` are the tensors with named cotangents, `group` numbers the other lets' groups."""

    joints: frozenset[str]
    group: Mapping[str, int]

    def members(self, number: int) -> set[str]:
        return {name for name, own in self.group.items() if own == number}


def partition(
    definition: Definition, lets: tuple[Let, ...], tensors: list[Tensor], extra: frozenset[str]
) -> Partition:
    """Group the lets on the way to the outputs. `extra` names further joints."""
    on_path = {t.name for t in tensors}
    relevant = [let for let in lets if let.name in on_path]
    made = {let.name for let in lets}
    joints = set(definition.wrt) | set(extra)
    units: dict[str, int] = {}
    for number, call in enumerate(definition.calls):
        units.update(dict.fromkeys(call.lets, number))
        table = dict(call.tensors)
        joints |= {table[t.name].name for t in call.callee.inputs}
        joints |= {table[name].name for name in call.callee.outputs}
    for let in relevant:
        if has_contraction(let.value):
            joints.add(let.name)
            joints |= names_in(let.value) & made
    parent = {let.name: let.name for let in relevant}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for user in relevant:
        for used in sorted(names_in(user.value) & set(parent)):
            same_unit = user.name in units and units.get(user.name) == units.get(used)
            if same_unit or used not in joints:
                parent[root(used)] = root(user.name)
    order = {let.name: position for position, let in enumerate(lets)}
    roots = sorted({root(name) for name in parent}, key=order.__getitem__)
    number = {name: i for i, name in enumerate(roots)}
    return Partition(frozenset(joints), {name: number[root(name)] for name in parent})
