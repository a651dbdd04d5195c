"""The public function over a definition's variants, as lines of Python.

It is the same for every operation: arguments are checked, tensors of any rank are seen as the
definition's axes (`codegen.torch.shapes`) by views that autograd differentiates, the arguments
choose a variant, and the result is seen in the caller's shape again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from codegen.torch.arguments import Arguments
from codegen.torch.demands import demanded
from codegen.torch.shapes import Layout, layout, refusal
from derive.language.definition import Definition, Tensor
from derive.language.interface import OTHERWISE, Argument, Choice, Interface, Variant

HELPERS = (
    "_along",
    "_autocast",
    "_broadcast",
    "_channels",
    "_channels_last",
    "_constant",
    "_correction",
    "_dims",
    "_everywhere",
    "_flat",
    "_flattened",
    "_halves",
    "_indices",
    "_integer",
    "_may_be",
    "_must_be",
    "_number",
    "_ranked",
    "_reduction",
    "_shaped",
    "_unflattened",
    "_wide",
)
"""What the template has, where the body calls it."""

_CALLED = {"_flat": {"_wide"}, "_may_be": {"_must_be"}}
"""What some of them call in turn."""

_CHECKED_BY = {
    "_must_be(Tensor, {})": "Tensor",
    "_may_be(Tensor, {})": "Tensor | None",
}
"""What refuses an argument of another kind, by how an argument is annotated."""

OLDER = {
    ("reduce", "size_average"): "reduction = _reduction(size_average, reduce, reduction)",
    ("correction", "unbiased"): "dim, correction = _correction(dim, unbiased, correction)",
}
"""Arguments that PyTorch keeps for older callers, and what they mean."""


_RAISED = {
    "ValueError": "an argument has an unknown value or a size that is refused.",
    "AssertionError": "an argument is out of its range.",
    "NotImplementedError": "an argument asks for what is not there.",
}
"""What a function raises by its own lines, beside what every function does."""


@dataclass(frozen=True)
class PublicFunction:
    """What is emitted for an operation that has an interface."""

    definition: Definition
    interface: Interface

    @cached_property
    def params(self) -> str:
        parts: list[str] = []
        for argument in self.interface.arguments:
            if argument.keyword_only and "*" not in parts:
                parts.append("*")
            given = f" = {argument.default}" if argument.default is not None else ""
            parts.append(f"{argument.name}: {self._annotation(argument)}{given}")
        return ", ".join(parts)

    @cached_property
    def body(self) -> list[str]:
        enter = [f"dtype = {self._dtype}", *self._promoted(), *self._layout.enter(), *self._sized()]
        before = [*self._kinds(), *self._prologue(), *self._given()]
        return [*before, *enter, *self._seen(), *self._end()]

    @cached_property
    def needs(self) -> set[str]:
        """The small functions that the body calls, and those that they call, by name."""
        text = "\n".join(self.body)
        found = {name for name in HELPERS if f"{name}(" in text}
        return found.union(*(needed for name, needed in _CALLED.items() if name in found))

    @cached_property
    def raises(self) -> dict[str, str]:
        """What it raises, itself or by a function that it calls, and why."""
        text = "\n".join(self.body)
        found = {name: why for name, why in _RAISED.items() if name in text}
        if "_shaped" in self.needs:
            found["ValueError"] = _RAISED["ValueError"]
        if self.needs & {"_dims", "_along", "_halves", "_indices"}:
            found["IndexError"] = "a dimension or an index is out of range."
        return found

    @property
    def arguments(self) -> list[str]:
        """Its parameters, handed to a function that has the same ones."""
        return [
            f"{a.name}={a.name}" if a.keyword_only else a.name for a in self.interface.arguments
        ]

    @property
    def tensors(self) -> list[str]:
        """Those of its parameters that are tensors."""
        return [
            a.name
            for a in self.interface.arguments
            if a.tensors and not any(name in self._masks for name in a.tensors)
        ]

    @cached_property
    def _arguments(self) -> Arguments:
        return Arguments(self.interface)

    @cached_property
    def _layout(self) -> Layout:
        return layout(self._arguments)

    # --- before ---

    def _kinds(self) -> Iterator[str]:
        """Lines that refuse what is no tensor where one is wanted, and a tensor for a number."""
        for line, wanted in _CHECKED_BY.items():
            arguments = self.interface.arguments
            names = [a.name for a in arguments if a.tensors and self._annotation(a) == wanted]
            if names:
                yield line.format(_by_name(names))
        for argument in self.interface.arguments:
            if any(name in self._masks for name in argument.tensors):
                yield f"if {argument.name} is not None:"
                yield f'    {argument.name} = _integer("{argument.name}", {argument.name})'
        named = self._arguments.named
        if numbers := [option for option in self._arguments.options if option in named]:
            yield f"_number({_by_name(numbers)})"

    def _prologue(self) -> Iterator[str]:
        named, first = self._arguments.named, self._arguments.primary
        for older, line in OLDER.items():
            if named.issuperset(older):
                yield line
        for argument in self.interface.arguments:
            if argument.halved:
                halves = ", ".join(argument.tensors)
                yield f"{halves} = _halves({argument.name}, dim)"
        if "dtype" in named:
            yield "if dtype is not None:"
            yield f"    {first} = {first}.to(dtype)"
        for name in self._rowwise:
            yield f"if not isinstance({name}, Tensor):"
            yield f"    {name} = torch.full_like({first}, {name})"
        yield from demanded(self.definition.name, self._arguments)
        for option, how in self.interface.given:
            if how == "epsilon":
                yield f"if {option} is None:"
                wide = f"torch.promote_types({first}.dtype, torch.float32)"
                yield f"    {option} = torch.finfo({wide}).eps"

    @property
    def _rowwise(self) -> list[str]:
        """The tensors that may be given as one number."""
        return [name for name, how in self.interface.given if how == "rowwise"]

    @property
    def _either(self) -> list[str]:
        """The variables that hold real numbers or integers, as the caller likes."""
        names = filter(self._arguments.one_of_two, self._arguments.tensors)
        return list(dict.fromkeys(map(self._arguments.variable, names)))

    def _promoted(self) -> Iterator[str]:
        """Numbers in place of integers have a part in the dtype of the result."""
        for name in self._either:
            yield f"if {name}.is_floating_point():"
            yield f"    dtype = torch.promote_types(dtype, {name}.dtype)"

    def _sized(self) -> Iterator[str]:
        """Conditions on the sizes of axes."""
        lines = list(demanded(self.definition.name, self._arguments, sized=True))
        for axis, role in self.interface.roles:
            if any(re.search(rf"\b{axis.size.name}\b", line) for line in lines):
                yield f"{axis.size.name} = {self._layout.size(role)}"
        yield from lines

    def _given(self) -> Iterator[str]:
        """Tensors that are given in another way than by broadcasting them."""
        first = self._arguments.primary
        for name, how in self.interface.given:
            whole = f"the shape of {first}, {{[*{first}.shape]}}"
            if how == "rowwise":
                yield f"if {name}.shape != {first}.shape and {name}.shape == {first}.shape[:-1]:"
                yield f"    {name} = {name}.unsqueeze(-1)"
                yield f"elif {name}.shape not in ({first}.shape, (*{first}.shape[:-1], 1)):"
                yield from refusal("ValueError", name, f"the shape of {first} or one number a row")
            elif how == "whole":
                present = f"{name} is not None and " if self._arguments.optional(name) else ""
                yield f"if {present}{name}.shape != {first}.shape:"
                yield from refusal("ValueError", name, whole)
            elif how == "alike":
                yield f"if {name}.shape != {first}.shape:"
                yield "    warnings.warn("
                yield f'        f"{name} has shape {{[*{name}.shape]}} and {first} "'
                yield f'        f"{{[*{first}.shape]}}: they are broadcast, which is seldom meant",'
                yield "        stacklevel=2,"
                yield "    )"
            elif how == "shared":
                yield f"count = {first}.shape[1] if {first}.dim() > 1 else 1"
                yield f"if {name}.dim() > 1 or {name}.numel() not in (1, count):"
                yield from refusal("RuntimeError", name, "one element, or one a channel, {count}")
            elif how == "paired":
                other = dict(self.interface.pairs)[name]
                yield f"if ({name} is None) != ({other} is None):"
                yield f'    raise ValueError("{name} and {other} must be given together")'
        yield from self._refused(filter(self._arguments.is_constant, self._arguments.tensors))

    def _refused(self, constants: Iterable[str]) -> Iterator[str]:
        """A line that refuses a gradient of what has none; a mask is no tensor of the caller's."""
        if fixed := [name for name in constants if name not in self._masks]:
            yield f"_constant({_by_name(map(self._arguments.variable, fixed))})"

    # --- from the caller's shapes to the definition's ---

    def _seen(self) -> Iterator[str]:
        """Every tensor that is always there, over the definition's axes; the first one last."""
        last = []
        for mask, beside in self._masks.items():
            yield from self._mask(mask, beside)
        for name, tensor in self._arguments.tensors.items():
            if self._is_inline(name):
                continue
            variable = self._arguments.variable(name)
            line = f"{name} = {self._view(tensor)}"
            if variable == self._arguments.primary:
                last.append(line)
            else:
                yield line
        yield from last

    def _is_inline(self, name: str) -> bool:
        """Whether only some variants take a tensor, so that it is seen where they are called."""
        return self._may_lack(name) or self._arguments.one_of_two(name)

    def _may_lack(self, name: str) -> bool:
        return name in dict(self.interface.pairs) or self._arguments.optional(name)

    @cached_property
    def _masks(self) -> dict[str, Tensor]:
        """The integers beside which each mask stands."""
        found: dict[str, Tensor] = {}
        for name, how in self.interface.given:
            if how == "mask":
                tensors = self._arguments.tensors
                beside = (t for t in tensors.values() if t.integer and t.axes == tensors[name].axes)
                found[name] = next(beside)
        return found

    def _view(self, tensor: Tensor) -> str:
        name = self._arguments.variable(tensor.name)
        if tensor.name in self._masks:
            return tensor.name
        if tensor.integer:
            return self._layout.seen(tensor, self._as_index(tensor.name, name))
        given = name
        if "inplace" in self._arguments.named and name == self._arguments.primary:
            given = f"{name}.clone() if inplace else {name}"
        elif name in self._either or (
            (len(self._arguments.alike) > 1 or self._either) and name in self._arguments.alike
        ):
            given = f"{name}.to(dtype)"
        return self._layout.seen(tensor, f"_wide({given})")

    def _as_index(self, name: str, variable: str) -> str:
        """Integers that are an index, if they are inside the axis that they index."""
        if name not in self._arguments.indexed:
            return variable
        home, place = self._arguments.indexed[name]
        role = self._arguments.roles_of(home)[place]
        shown = f"{self._arguments.variable(home.name)}.shape[{place}]"
        size = shown if role is None else "math.prod(tail)"
        return f'_indices("{variable}", {variable}, {size})'

    def _mask(self, mask: str, beside: Tensor) -> Iterator[str]:
        """A mask from the integer that does not count, which is put out of the way."""
        integers, left_out = self._arguments.variable(beside.name), self._arguments.variable(mask)
        dtype = f"torch.promote_types({self._arguments.real}.dtype, torch.float32)"
        kept = self._layout.seen(beside, integers)
        given = f"{left_out} is not None"
        if self._arguments.one_of_two(beside.name):
            yield f"if {integers}.is_floating_point() and {given} and {left_out} >= 0:"
            yield f'    raise RuntimeError("{left_out} is for a {integers} of integers")'
            given += f" and not {integers}.is_floating_point()"
        yield f"{mask} = None"
        yield f"if {given}:"
        yield f"    {mask} = ({kept} != {left_out}).to({dtype})"
        yield f"    {integers} = {integers}.masked_fill({integers} == {left_out}, 0)"

    # --- which definition is meant ---

    def _end(self) -> Iterator[str]:
        output = self.definition.outputs[0]
        result = "found" if self._updates else ", ".join(self.definition.outputs)
        if len(self.interface.variants) == 1:
            yield f"{result} = {self._call(self.interface.variants[0])}"
        else:
            yield from self._choose(result)
        yield from self._update(output)
        yield from self._leave(output)

    def _choose(self, output: str) -> Iterator[str]:
        choices, variants = self.interface.choices, self.interface.variants
        pairs = self.interface.pairs  # asked for too, though their partner tells: checkers need it
        subjects = [*map(self._selector, choices), *(self._arguments.variable(n) for n, _ in pairs)]
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
            yield from (f"        {line}" for line in self._refused(self._constant_in(variant)))
            yield f"        {output} = {self._call(variant)}"
        if any(all(value is OTHERWISE for value in variant.values) for variant in variants):
            return
        if [choice.kind for choice in choices] == ["given"] and not pairs:
            return
        yield "    case _:"
        yield from (f"        {line}" for line in self._unknown())

    def _constant_in(self, variant: Variant) -> Iterator[str]:
        """The tensors that have a gradient in other variants, and none in this one."""
        for name in self._arguments.tensors:
            fixed = self._arguments.is_constant_in(variant.definition, name)
            if fixed and not self._arguments.is_constant(name):
                yield name

    def _unknown(self) -> Iterator[str]:
        """Refuse a value that no variant is for; of tensors and flags every combination has one."""
        choices = self.interface.choices
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

    def _selector(self, choice: Choice) -> str:
        if choice.kind == "given":
            return self._arguments.variable(choice.name)
        if choice.kind == "integers":
            return f"not {choice.name}.is_floating_point()"
        return f"bool({choice.name})" if set(choice.values) <= {True, False} else choice.name

    def _call(self, variant: Variant) -> str:
        definition, named = variant.definition, self._arguments.named
        updated = {buffer for buffer, _ in definition.updates}
        parts = [
            # What the function saves is not what is written to afterwards.
            f"{self._view(tensor)}.clone()"
            if tensor.name in updated
            else self._view(tensor)
            if self._is_inline(tensor.name)
            else tensor.name
            for tensor in definition.inputs
        ]
        parts += [o.name if o.name in named else repr(o.default) for o in definition.options]
        many = len(self.definition.outputs) + len(self._updates)
        place = "[0]" if many == 1 else f"[:{many}]"
        return f"{function_name(definition)}.apply({', '.join(parts)}){place}"

    @cached_property
    def _updates(self) -> tuple[tuple[str, str], ...]:
        """The buffers that some variant updates, each with the let that holds what it becomes."""
        return max((v.definition.updates for v in self.interface.variants), key=len)

    def _update(self, output: str) -> Iterator[str]:
        """The buffers take their new values; where they are not updated, none was computed."""
        if not self._updates:
            return
        buffers = [self._arguments.variable(buffer) for buffer, _ in self._updates]
        conditions = [*self._updating, *(f"{b} is not None" for b in buffers[1:])]
        conditions.append(f"{self._arguments.primary}.numel()")
        yield f"if {' and '.join(dict.fromkeys(conditions))}:"
        yield "    with torch.no_grad():"
        for place, (buffer, _) in enumerate(self._updates, start=1):
            yield f"        {self._arguments.variable(buffer)}.copy_(found[{place}])"
        yield f"{output} = found[0]"

    @property
    def _updating(self) -> Iterator[str]:
        """What holds in all variants that update, and in no other."""
        updating = [v for v in self.interface.variants if v.definition.updates]
        for choice, *values in zip(
            self.interface.choices, *(v.values for v in updating), strict=True
        ):
            if len(set(values)) == 1:
                test = f"{self._selector(choice)}"
                yield f"{test} is not None" if choice.kind == "given" else test

    # --- back to the caller's shape ---

    def _leave(self, output: str) -> Iterator[str]:
        if len(self.definition.outputs) > 1:
            yield from self._joined()
            return
        ranks = {v.definition.tensors[output].axes for v in self.interface.variants}
        shaped = [self._layout.restored(output, self._arguments.roles_over(a)) for a in ranks if a]
        result = shaped[0] if shaped else output
        if shaped and len(ranks) > 1:
            result = f"({result} if {output}.dim() else {output})"
        result = f"{result}.to(dtype)"
        if "inplace" in self._arguments.named:
            yield f"{output} = {result}"
            yield f"return {self._arguments.primary}.copy_({output}) if inplace else {output}"
        else:
            yield f"return {result}"

    def _joined(self) -> Iterator[str]:
        """Several outputs are the parts of one result, as an argument was cut into its halves."""
        parts = []
        for output in self.definition.outputs:
            roles = self._arguments.roles_over(self.definition.tensors[output].axes)
            parts.append(self._layout.restored(output, roles))
        yield f"return torch.cat(({', '.join(parts)}), dim).to(dtype)"

    @property
    def _dtype(self) -> str:
        """The dtype of the result: what the tensors that are alike have in common."""
        first, *others = self._arguments.alike
        dtype = f"{first}.dtype"
        for other in others:
            dtype = f"torch.promote_types({dtype}, {other}.dtype)"
        if self.interface.autocast is not None:
            dtype = f'_autocast({dtype}, {first}, "{self.interface.autocast}")'
        if "dtype" in self._arguments.named:
            dtype = f"dtype or {dtype}"
        return dtype

    def _annotation(self, argument: Argument) -> str:
        if any(name in self._masks for name in argument.tensors):
            return "int | None"
        if argument.name in self._rowwise:
            return "Tensor | float"
        if argument.tensors:
            left_out = argument.default == "None" or any(map(self._may_lack, argument.tensors))
            return "Tensor | None" if left_out else "Tensor"
        if argument.name == "dim" and any(a.halved for a in self.interface.arguments):
            return "int"
        if argument.name == "dim" and "along" in self._arguments.roles:
            return "int | None"
        if argument.name in _KINDS:
            return _KINDS[argument.name]
        default = argument.default or ""
        if default in ("True", "False"):
            return "bool"
        if default[:1] in ("'", '"'):
            return "str"
        options = (o for v in self.interface.variants for o in v.definition.options)
        number = "int" if any(o.name == argument.name and o.integer for o in options) else "float"
        return f"{number} | None" if default == "None" else number


_KINDS = {
    "size_average": "bool | None",
    "reduce": "bool | None",
    "unbiased": "bool | None",
    "dim": "int | Sequence[int] | None",
    "normalized_shape": "Sequence[int]",
    "num_groups": "int",
    "dtype": "torch.dtype | None",
    "_stacklevel": "int",
}
"""What an argument is that its default does not say it of."""


def camel(words: str) -> str:
    """`sum_weight` as `SumWeight`."""
    return "".join(word.capitalize() for word in words.split("_"))


def function_name(definition: Definition) -> str:
    """What the autograd function of a variant is called."""
    return f"_{camel(definition.variant)}Function"


def _is_closed(choice: Choice) -> bool:
    """Whether an argument has no values but those of the variants."""
    flag = set(choice.values) <= {True, False}
    return choice.kind == "value" and not flag and OTHERWISE not in choice.values


def _refusing(choice: Choice) -> Iterator[str]:
    known = ", ".join(map(str, choice.values))
    yield f"raise {choice.unknown}("
    yield f'    f"{choice.name} must be one of {known}, got {{{choice.name}!r}}"'
    yield ")"


def _by_name(names: Iterable[str]) -> str:
    return ", ".join(f"{name}={name}" for name in names)


def _pattern(choice: Choice, value: object) -> str:
    if choice.kind == "given":
        return ("int()" if choice.mask else "Tensor()") if value else "None"
    if value is OTHERWISE:
        return "_"
    if isinstance(value, float) and math.isinf(value):
        return "math.inf" if value > 0 else "_"
    return repr(value)
