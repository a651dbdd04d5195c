"""Which variant the arguments choose, how it is called, and what is returned of its outputs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
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
        if len(variants) == 1:
            yield self._call(variants[0])
        else:
            yield from self._choose()
        yield from self._update()
        yield from self._leave()

    @property
    def _interface(self) -> Interface:
        return self.arguments.interface

    # --- the variant that is meant ---

    def _choose(self) -> Iterator[str]:
        choices = self._interface.choices
        pairs = self._interface.pairs  # asked for too, though their partner tells: checkers need it
        subjects = [*map(self._selector, choices), *(self.arguments.variable(n) for n, _ in pairs)]
        yield f"match {', '.join(subjects)}:"
        for case in self._cases():
            patterns = [*case.patterns.values(), *(case.patterns[other] for _, other in pairs)]
            yield f"    case {', '.join(patterns)}{case.guard}:"
            yield from (f"        {line}" for line in case.body)
        if not self._is_complete:
            yield "    case _:"
            yield from (f"        {line}" for line in self._unknown())

    @property
    def _is_complete(self) -> bool:
        """Whether a variant is called whatever is given."""
        interface = self._interface
        if len(interface.variants) == 1:
            return True
        if any(all(value is OTHERWISE for value in v.values) for v in interface.variants):
            return True
        return [choice.kind for choice in interface.choices] == ["given"] and not interface.pairs

    @property
    def refused(self) -> list[Choice]:
        """The choices whose argument is refused where its value is none of a variant's."""
        return [] if self._is_complete else list(filter(_is_closed, self._interface.choices))

    def _cases(self) -> list[_Case]:
        """A case for each variant; one for two that are called alike, a tensor given or not."""
        choices = self._interface.choices
        cases: list[_Case] = []
        for variant in sorted(
            self._interface.variants, key=lambda v: sum(x is OTHERWISE for x in v.values)
        ):
            values = dict(zip(choices, variant.values, strict=True))
            # No pattern is a negative name: minus infinity is asked for behind it.
            guards = [f"{c.name} == -math.inf" for c, value in values.items() if value == -math.inf]
            refused = no_gradient(constant_in(variant, self.arguments), self.arguments)
            cases.append(
                _Case(
                    {choice.name: _pattern(choice, value) for choice, value in values.items()},
                    f" if {' and '.join(guards)}" if guards else "",
                    (*refused, self._call(variant)),
                )
            )
        for choice in choices:
            if choice.kind == "given":
                cases = list(_without(choice.name, cases))
        return cases

    def _selector(self, choice: Choice) -> str:
        if choice.kind == "given":
            return self.arguments.variable(choice.name)
        if choice.kind == "integers":
            return f"not {choice.name}.is_floating_point()"
        return choice.name

    def _unknown(self) -> Iterator[str]:
        """Refuse a value that no variant is for; of tensors and flags every combination has one."""
        choices = self._interface.choices
        if not self.refused:
            names = ", ".join(choice.name for choice in choices)
            yield f'raise ValueError("{self.definition.name} is not defined for this {names}")'
            return
        *others, last = self.refused
        for choice in others:
            yield f"if {choice.name} not in {choice.values!r}:"
            yield from (f"    {line}" for line in _refusing(choice))
        yield from _refusing(last)

    def _call(self, variant: Variant) -> str:
        """The line that calls a variant; its function returns what it keeps behind its outputs."""
        definition = variant.definition
        parts = [self._given(tensor.name, definition) for tensor in definition.inputs]
        parts += [
            o.name if o.name in self.arguments.named else repr(o.default)
            for o in definition.options
        ]
        given = ", ".join(parts)
        outputs = "found" if self._updates else ", ".join(self.definition.outputs)
        if definition.variant in self.alone:
            suffix = f"_{definition.variant}" if definition.variant else ""
            call = f"_applied{suffix}({given})"
            return f"{outputs} = [{call}]" if self._updates else f"{outputs} = {call}"
        call = f"{function_name(definition)}.apply({given})"
        return f"{outputs} = {call}" if self._updates else f"{outputs}, *_ = {call}"

    def _given(self, name: str, definition: Definition) -> str:
        """A tensor as it is handed to a variant."""
        if name in self.arguments.masks or not self.arguments.of_some_variants(name):
            seen = name
        elif name in self.arguments.buffers:
            seen = view(definition.tensors[name], self.arguments, self.layout)
        else:
            seen = self.arguments.variable(name)
        # What the function saves is not what is written to afterwards.
        return f"{seen}.clone()" if name in dict(definition.updates) else seen

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
        if "inplace" in self.arguments.conventional:
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


@dataclass(frozen=True)
class _Case:
    """What is done where each choice matches its pattern."""

    patterns: dict[str, str]
    guard: str
    body: tuple[str, ...]


def _without(choice: str, cases: list[_Case]) -> Iterator[_Case]:
    """The cases, in one those that differ only in a choice between two."""
    left = list(cases)
    while left:
        case = left.pop(0)
        open_to_both = replace(case, patterns={**case.patterns, choice: "_"})
        twins = [
            other
            for other in left
            if replace(other, patterns={**other.patterns, choice: "_"}) == open_to_both
        ]
        for twin in twins:
            left.remove(twin)
        yield open_to_both if twins else case


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
