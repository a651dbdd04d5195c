"""Which variant the arguments choose, how it is called, and what is returned of its outputs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from codegen.torch.arguments import Arguments
from codegen.torch.checks import constant_in, no_gradient
from codegen.torch.names import function_name
from codegen.torch.shapes import Layout
from codegen.torch.views import view
from derive.language.definition import Definition
from derive.language.interface import OTHERWISE, Choice, Interface, Variant


@dataclass(frozen=True)
class Dispatch:
    """The last lines of a public function, whose tensors are seen over the definition's axes."""

    definition: Definition
    arguments: Arguments
    layout: Layout
    alone: frozenset[str] = frozenset()
    """The variants that have a function for the value alone."""

    def lines(self) -> Iterator[str]:
        """The call of the variant that is meant, updates of buffers, and the result returned."""
        variants = self._interface.variants
        result = "found" if self._updates else ", ".join(self.definition.outputs)
        if len(variants) == 1:
            yield f"{result} = {self._call(variants[0])}"
        else:
            yield from self._choose(result)
        yield from self._update()
        yield from self._leave()

    @property
    def _interface(self) -> Interface:
        return self.arguments.interface

    # --- the variant that is meant ---

    def _choose(self, result: str) -> Iterator[str]:
        choices, variants = self._interface.choices, self._interface.variants
        pairs = self._interface.pairs  # asked for too, though their partner tells: checkers need it
        subjects = [*map(self._selector, choices), *(self.arguments.variable(n) for n, _ in pairs)]
        yield f"match {', '.join(subjects)}:"
        for variant in sorted(variants, key=lambda v: sum(x is OTHERWISE for x in v.values)):
            named = {c.name: _pattern(c, v) for c, v in zip(choices, variant.values, strict=True)}
            patterns = ", ".join([*named.values(), *(named[other] for _, other in pairs)])
            # No pattern is a negative name: minus infinity is asked for behind it.
            guards = [
                f"{choice.name} == -math.inf"
                for choice, value in zip(choices, variant.values, strict=True)
                if value == -math.inf
            ]
            guard = f" if {' and '.join(guards)}" if guards else ""
            yield f"    case {patterns}{guard}:"
            refused = no_gradient(constant_in(variant, self.arguments), self.arguments)
            yield from (f"        {line}" for line in refused)
            yield f"        {result} = {self._call(variant)}"
        if any(all(value is OTHERWISE for value in variant.values) for variant in variants):
            return
        if [choice.kind for choice in choices] == ["given"] and not pairs:
            return
        yield "    case _:"
        yield from (f"        {line}" for line in self._unknown())

    def _selector(self, choice: Choice) -> str:
        if choice.kind == "given":
            return self.arguments.variable(choice.name)
        if choice.kind == "integers":
            return f"not {choice.name}.is_floating_point()"
        return f"bool({choice.name})" if set(choice.values) <= {True, False} else choice.name

    def _unknown(self) -> Iterator[str]:
        """Refuse a value that no variant is for; of tensors and flags every combination has one."""
        choices = self._interface.choices
        closed = [choice for choice in choices if _is_closed(choice)]
        if not closed:
            names = ", ".join(choice.name for choice in choices)
            yield f'raise ValueError("{self.definition.name} is not defined for this {names}")'
            return
        *others, last = closed
        for choice in others:
            yield f"if {choice.name} not in {choice.values!r}:"
            yield from (f"    {line}" for line in _refusing(choice))
        yield from _refusing(last)

    def _call(self, variant: Variant) -> str:
        definition = variant.definition
        parts = [self._given(tensor.name, definition) for tensor in definition.inputs]
        parts += [
            o.name if o.name in self.arguments.named else repr(o.default)
            for o in definition.options
        ]
        many = len(self.definition.outputs) + len(self._updates)
        place = "[0]" if many == 1 else f"[:{many}]"
        given = ", ".join(parts)
        if definition.variant not in self.alone:
            return f"{function_name(definition)}.apply({given}){place}"
        suffix = f"_{definition.variant}" if definition.variant else ""
        call = f"_applied{suffix}({given})"
        return f"[{call}]" if self._updates else call

    def _given(self, name: str, definition: Definition) -> str:
        """A tensor as it is handed to a variant."""
        seen = view(definition.tensors[name], self.arguments, self.layout)
        if name in dict(definition.updates):
            return f"{seen}.clone()"  # what the function saves is not what is written to afterwards
        return seen if self.arguments.of_some_variants(name) else name

    # --- the buffers ---

    @cached_property
    def _updates(self) -> tuple[tuple[str, str], ...]:
        """The buffers that some variant updates, each with the let that holds what it becomes."""
        return max((v.definition.updates for v in self._interface.variants), key=len)

    def _update(self) -> Iterator[str]:
        """The buffers take their new values; where they are not updated, none was computed."""
        if not self._updates:
            return
        buffers = [self.arguments.variable(buffer) for buffer, _ in self._updates]
        conditions = [*self._updating, *(f"{b} is not None" for b in buffers[1:])]
        conditions.append(f"{self.arguments.primary}.numel()")
        yield f"if {' and '.join(dict.fromkeys(conditions))}:"
        yield "    with torch.no_grad():"
        for place, buffer in enumerate(buffers, start=1):
            yield f"        {buffer}.copy_(found[{place}])"
        yield f"{self.definition.outputs[0]} = found[0]"

    @property
    def _updating(self) -> Iterator[str]:
        """What holds in all variants that update, and in no other."""
        values = [v.values for v in self._interface.variants if v.definition.updates]
        for choice, *chosen in zip(self._interface.choices, *values, strict=True):
            if len(set(chosen)) == 1:
                test = self._selector(choice)
                yield f"{test} is not None" if choice.kind == "given" else test

    # --- back to the caller's shape ---

    def _leave(self) -> Iterator[str]:
        output, *others = self.definition.outputs
        if others:
            yield from self._joined()
            return
        axes = {v.definition.tensors[output].axes for v in self._interface.variants}
        shaped = [self.layout.restored(output, self.arguments.roles_over(a)) for a in axes if a]
        result = shaped[0] if shaped else output
        if shaped and len(axes) > 1:
            result = f"({result} if {output}.dim() else {output})"
        result = f"{result}.to(dtype)"
        if "inplace" in self.arguments.named:
            yield f"{output} = {result}"
            yield f"return {self.arguments.primary}.copy_({output}) if inplace else {output}"
        else:
            yield f"return {result}"

    def _joined(self) -> Iterator[str]:
        """Several outputs are the parts of one result, as an argument was cut into its halves."""
        parts = []
        for output in self.definition.outputs:
            roles = self.arguments.roles_over(self.definition.tensors[output].axes)
            parts.append(self.layout.restored(output, roles))
        yield f"return torch.cat(({', '.join(parts)}), dim).to(dtype)"


def _is_closed(choice: Choice) -> bool:
    """Whether an argument has no values but those of the variants."""
    flag = set(choice.values) <= {True, False}
    return choice.kind == "value" and not flag and OTHERWISE not in choice.values


def _refusing(choice: Choice) -> Iterator[str]:
    known = ", ".join(map(str, choice.values))
    yield f"raise {choice.unknown}("
    yield f'    f"{choice.name} must be one of {known}, got {{{choice.name}!r}}"'
    yield ")"


def _pattern(choice: Choice, value: object) -> str:
    if choice.kind == "given":
        return ("int()" if choice.mask else "Tensor()") if value else "None"
    if value is OTHERWISE:
        return "_"
    if isinstance(value, float) and math.isinf(value):
        return "math.inf" if value > 0 else "_"
    return repr(value)
