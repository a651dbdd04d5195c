"""The public function over a definition's variants, as lines of Python.

It is the same for every operation: tensors of any rank are seen as the definition's axes, by
views that autograd differentiates; arguments choose a variant; the result is seen in the
caller's shape again. What an axis is of a caller's tensor is its role (`derive.interface`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from sympy import Basic, Indexed, Symbol
from sympy.core.relational import Relational

from derive.interface import OTHERWISE, Argument, Choice, Interface, Variant
from derive.language import Definition, Tensor

HELPERS = ("_wide", "_flat", "_reduction", "_dims", "_constant")
"""What the template has, where the body calls it."""

_TAILS = ("last", "features", "channel", "dim")


@dataclass(frozen=True)
class PublicFunction:
    """What is emitted for an operation that has an interface."""

    definition: Definition
    interface: Interface

    # --- the parts that the template lays out ---

    @cached_property
    def params(self) -> str:
        parts: list[str] = []
        for argument in self.interface.arguments:
            if argument.keyword_only and "*" not in parts:
                parts.append("*")
            kind = _annotation(argument)
            given = f" = {argument.default}" if argument.default is not None else ""
            parts.append(f"{argument.name}: {kind}{given}")
        return ", ".join(parts)

    @cached_property
    def body(self) -> list[str]:
        return [*self._prologue(), *self._enter(), *self._choose(), *self._leave()]

    @cached_property
    def needs(self) -> set[str]:
        """The small functions that the body calls, by name."""
        text = "\n".join(self.body)
        return {name for name in HELPERS if f"{name}(" in text}

    # --- what the arguments are ---

    @cached_property
    def _by_tensor(self) -> dict[str, Argument]:
        return {name: a for a in self.interface.arguments for name in a.tensors}

    @cached_property
    def _named(self) -> set[str]:
        return {a.name for a in self.interface.arguments}

    @cached_property
    def _tensors(self) -> dict[str, Tensor]:
        """Every input of any variant, by name."""
        return {t.name: t for v in self.interface.variants for t in v.definition.inputs}

    @cached_property
    def _options(self) -> list[str]:
        """Every option of any variant, by name."""
        found = {o.name: None for v in self.interface.variants for o in v.definition.options}
        return list(found)

    @cached_property
    def _roles(self) -> set[str]:
        return {role for _, role in self.interface.roles}

    @cached_property
    def _tail(self) -> str | None:
        return next((role for role in _TAILS if role in self._roles), None)

    @cached_property
    def _primary(self) -> str:
        """The argument whose shape the others follow."""
        return next(a.name for a in self.interface.arguments if a.tensors)

    def _roles_of(self, tensor: Tensor) -> tuple[str | None, ...]:
        return tuple(self.interface.role(axis) for axis in tensor.axes)

    def _optional(self, name: str) -> bool:
        return any(c.kind == "given" and c.name == name for c in self.interface.choices)

    def _one_of_two(self, name: str) -> bool:
        return len(self._by_tensor[name].tensors) > 1

    # --- before ---

    def _prologue(self) -> Iterator[str]:
        named, first = self._named, self._primary
        if {"size_average", "reduce"} <= named:
            yield "reduction = _reduction(size_average, reduce, reduction)"
        if "dtype" in named:
            yield "if dtype is not None:"
            yield f"    {first} = {first}.to(dtype)"
        for condition, error in self.interface.demands:
            options = [o for o in self._options if re.search(rf"\b{o}\b", condition)]
            if any(re.search(rf"\b{name}\b", condition) for name in self._tensors):
                yield f"if not ({condition}).all():"
                yield f'    raise {error}("{self.definition.name} wants {condition} everywhere")'
                continue
            got = ", ".join(f"{o} = {{{o}}}" for o in options)
            yield f"if not {condition}:"
            yield f'    raise {error}(f"{self.definition.name} wants {condition}, got {got}")'
        for option in self._options:
            argument = next((a for a in self.interface.arguments if a.name == option), None)
            if argument is not None and argument.default == "None":
                yield f"if {option} is None:"
                yield f"    {option} = torch.finfo({first}.dtype).eps"

    # --- from the caller's shapes to the definition's ---

    def _enter(self) -> Iterator[str]:
        first = self._primary
        yield from self._as_given()
        if "elements" in self._roles:
            yield from self._enter_elements()
        elif "batch" in self._roles:
            yield f"shape = {first}.shape"
            yield from self._enter_positional()
        elif self._tail:
            yield from self._enter_tail()
        for name, tensor in self._tensors.items():
            if name == self._tensor_of(first) or self._optional(name) or self._one_of_two(name):
                continue
            yield f"{name} = {self._seen(tensor)}"
        yield f"{self._tensor_of(first)} = {self._seen(self._tensors[self._tensor_of(first)])}"

    def _as_given(self) -> Iterator[str]:
        """Tensors that are given in another way than by broadcasting them."""
        first = self._primary
        for name, how in self.interface.given:
            whole = f"the shape of {first}, {{[*{first}.shape]}}"
            if how == "rowwise":
                yield f"if {name}.shape != {first}.shape and {name}.shape == {first}.shape[:-1]:"
                yield f"    {name} = {name}.unsqueeze(-1)"
                yield f"elif {name}.shape not in ({first}.shape, (*{first}.shape[:-1], 1)):"
                yield from _refusal("ValueError", name, f"the shape of {first} or one number a row")
            elif how == "whole":
                present = f"{name} is not None and " if self._optional(name) else ""
                yield f"if {present}{name}.shape != {first}.shape:"
                yield from _refusal("ValueError", name, whole)
            elif how == "shared":
                yield f"count = {first}.shape[1] if {first}.dim() > 1 else 1"
                yield f"if {name}.dim() > 1 or {name}.numel() not in (1, count):"
                yield from _refusal("RuntimeError", name, "one element, or one a channel, {count}")
        fixed = [name for name in self._tensors if self._is_constant(name)]
        if fixed:
            parts = [f"{self._by_tensor[n].name}={self._by_tensor[n].name}" for n in fixed]
            yield f"_constant({', '.join(parts)})"

    def _is_constant(self, name: str) -> bool:
        """Whether a real tensor has no gradient in any variant, though its value would have one."""
        if self._tensors[name].integer:
            return False
        wanted = {n for v in self.interface.variants for n in v.definition.wrt}
        lets = [let for v in self.interface.variants for let in v.definition.lets]
        return name not in wanted and any(_has_slope(let.value, name) for let in lets)

    def _tensor_of(self, argument: str) -> str:
        return next(a.tensors[0] for a in self.interface.arguments if a.name == argument)

    def _enter_elements(self) -> Iterator[str]:
        arguments = [
            self._by_tensor[t.name].name
            for t in self._tensors.values()
            if "elements" in self._roles_of(t)
        ]
        arguments = list(dict.fromkeys(arguments))
        if len(arguments) == 1:
            yield f"shape = {arguments[0]}.shape"
            return
        optional = [n for n in arguments if self._optional(n)]
        shapes = ", ".join(f"{n}.shape" for n in arguments if n not in optional)
        if optional:
            given = ", ".join(arguments)
            yield f"given = [t for t in ({given}) if t is not None]"
            yield "shape = torch.broadcast_shapes(*(t.shape for t in given))"
        else:
            yield f"shape = torch.broadcast_shapes({shapes})"
        required = [n for n in arguments if n not in optional]
        dtype = f"{required[0]}.dtype"
        for other in required[1:]:
            dtype = f"torch.promote_types({dtype}, {other}.dtype)"
        yield f"dtype = {dtype}"

    def _enter_positional(self) -> Iterator[str]:
        first = self._primary
        least = 2 if self._roles & {"group", "channel"} else 0
        if least:
            yield f"if len(shape) < {least}:"
            yield f'    raise RuntimeError(f"{first} must have at least {least} dimensions, '
            yield '        f"got shape {[*shape]}")'

    def _enter_tail(self) -> Iterator[str]:
        first = self._primary
        whole = [
            self._by_tensor[t.name].name
            for t in self._tensors.values()
            if self._roles_of(t) == ("rest", self._tail)
        ]
        if len(whole) > 1 and not any(self._by_tensor[n].tensors[1:] for n in self._by_tensor):
            names = ", ".join(whole)
            yield f"{names} = torch.broadcast_tensors({names})"
        if self._tail == "channel":
            yield f"moved = {first}.movedim(min(1, {first}.dim() - 1), -1)"
        elif self._tail == "dim":
            yield f"dims = _dims(dim, {first}.dim())"
            yield f"moved = {self._moved(first)}"
        where = "moved" if self._tail in ("channel", "dim") else first
        split = {
            "last": "-1",
            "channel": "-1",
            "dim": f"{first}.dim() - len(dims)",
            "features": f"{first}.dim() - len(normalized_shape)",
        }[str(self._tail)]
        if split != "-1":
            yield f"split = {split}"
            split = "split"
        yield f"rest, tail = {where}.shape[:{split}], {where}.shape[{split}:]"
        if self._tail == "features":
            yield "if tuple(tail) != tuple(normalized_shape):"
            yield "    raise RuntimeError("
            yield f'        f"{first} must end in normalized_shape {{[*normalized_shape]}}, "'
            yield f'        f"got shape {{[*{first}.shape]}}"'
            yield "    )"

    def _moved(self, name: str) -> str:
        if self._tail == "channel":
            return f"{name}.movedim(min(1, {name}.dim() - 1), -1)"
        if self._tail == "dim":
            return f"{name}.movedim(dims, tuple(range(-len(dims), 0)))"
        return name

    def _seen(self, tensor: Tensor) -> str:
        """An argument's tensor over the definition's axes, as an expression."""
        argument = self._by_tensor[tensor.name]
        name, roles = argument.name, self._roles_of(tensor)
        if argument.name == "ignore_index":
            target = next(a.name for a in self.interface.arguments if a.name == "target")
            return (
                f"({target} != ignore_index).reshape(-1).to({self._tensor_of(self._primary)}.dtype)"
            )
        source = f"{name}.clone() if inplace else {name}" if "inplace" in self._named else name
        wide = name if tensor.integer else f"_wide({source})"
        if tensor.integer and "ignore_index" in self._named:
            kept = f"{name}.masked_fill({name} == ignore_index, 0)"
            wide = f"({name} if ignore_index is None else {kept})"
        if roles == ("elements",):
            if sum("elements" in self._roles_of(t) for t in self._tensors.values()) == 1:
                return f"{wide}.reshape(-1)"
            return f"_flat({name}, shape, dtype)"
        if "elements" in roles:
            return f"{wide}.reshape(-1)"
        if "batch" in self._roles:
            return self._positional(wide, roles)
        if not self._tail or not roles:
            return wide
        if roles == ("rest", self._tail):
            if name == self._primary and self._tail in ("channel", "dim"):
                return f"{wide.replace(name, 'moved')}.reshape(math.prod(rest), math.prod(tail))"
            if self._tail == "last" and name != self._primary:
                return f"{wide}.reshape(math.prod(rest), {name}.shape[-1])"
            moved = wide.replace(name, self._moved(name))
            return f"{moved}.reshape(math.prod(rest), math.prod(tail))"
        if roles == ("rest",):
            if tensor.integer:
                return f"{wide}.reshape(-1)"
            return f"_flat({name}, rest, {self._primary}.dtype)"
        if dict(self.interface.given).get(tensor.name) == "shared":
            return f"{wide}.reshape(-1).expand(math.prod(tail))"
        if roles == (self._tail,) and self._tail == "features":
            return f"{wide}.reshape(math.prod(tail))"
        return wide

    def _positional(self, wide: str, roles: tuple[str | None, ...]) -> str:
        if "group" in self._roles:
            sizes = {
                "batch": "shape[0]",
                "group": "num_groups",
                "within": "shape[1] // num_groups",
                "spatial": "math.prod(shape[2:])",
            }
        elif "channel" in self._roles:
            sizes = {"batch": "shape[0]", "channel": "shape[1]", "spatial": "math.prod(shape[2:])"}
        else:
            sizes = {"batch": "math.prod(shape[:1])", "spatial": "math.prod(shape[1:])"}
            wide = f"{wide}.expand(shape)"
        return f"{wide}.reshape({', '.join(sizes[str(role)] for role in roles)})"

    # --- which definition is meant ---

    def _choose(self) -> Iterator[str]:
        output = self.definition.outputs[0]
        variants = self.interface.variants
        if len(variants) == 1:
            yield f"{output} = {self._call(variants[0])}"
            return
        choices = self.interface.choices
        yield f"match {', '.join(map(self._selector, choices))}:"
        for variant in sorted(variants, key=lambda v: sum(x is OTHERWISE for x in v.values)):
            patterns = ", ".join(map(_pattern, self.interface.choices, variant.values))
            yield f"    case {patterns}:"
            yield f"        {output} = {self._call(variant)}"
        wrong = next((c for c in choices if all(isinstance(v, str) for v in c.values)), None)
        yield "    case _:"
        about = wrong.name if wrong else choices[0].name
        known = ", ".join(map(str, (wrong or choices[0]).values))
        error = (wrong or choices[0]).unknown
        yield f'        raise {error}(f"{about} must be one of {known}, got {{{about}!r}}")'

    def _selector(self, choice: Choice) -> str:
        if choice.kind == "given":
            return self._by_tensor[choice.name].name
        if choice.kind == "integers":
            return f"not {choice.name}.is_floating_point()"
        return f"bool({choice.name})" if set(choice.values) <= {True, False} else choice.name

    def _call(self, variant: Variant) -> str:
        definition = variant.definition
        parts = []
        for tensor in definition.inputs:
            inline = self._optional(tensor.name) or self._one_of_two(tensor.name)
            parts.append(self._seen(tensor) if inline else tensor.name)
        for option in definition.options:
            known = option.name in self._named
            parts.append(option.name if known else repr(option.default))
        return f"{function_name(definition)}.apply({', '.join(parts)})[0]"

    # --- back to the caller's shape ---

    def _leave(self) -> Iterator[str]:
        first = self._primary
        output = self.definition.outputs[0]
        ranks = {v.definition.tensors[output].axes for v in self.interface.variants}
        shaped = {axes: self._restored(output, axes) for axes in ranks}
        result = next((s for s in shaped.values() if s != output), output)
        if len(ranks) > 1:
            result = f"({result} if {output}.dim() else {output})"
        if not self._tensors[self._tensor_of(first)].integer:
            result = f"{result}.to({self._result_dtype()})"
        if "inplace" in self._named:
            yield f"{output} = {result}"
            yield f"return {first}.copy_({output}) if inplace else {output}"
        else:
            yield f"return {result}"

    def _result_dtype(self) -> str:
        several = sum("elements" in self._roles_of(t) for t in self._tensors.values()) > 1
        return "dtype" if several else f"{self._primary}.dtype"

    def _restored(self, output: str, axes: tuple[object, ...]) -> str:
        """The output in the caller's shape, as an expression."""
        roles = tuple(self.interface.role(axis) for axis in axes)  # type: ignore[arg-type]
        if not roles:
            return output
        if "elements" in roles:
            own = len(roles) - 1
            return (
                f"{output}.reshape((*shape, *{output}.shape[1:]))"
                if own
                else f"{output}.reshape(shape)"
            )
        if "batch" in roles:
            return f"{output}.reshape(shape)"
        if roles == ("rest",):
            if "keepdim" not in self._named:
                return f"{output}.reshape(rest)"
            kept = f"[1 if d in dims else s for d, s in enumerate({self._primary}.shape)]"
            return f"{output}.reshape({kept} if keepdim else rest)"
        if roles == ("rest", self._tail):
            whole = f"{output}.reshape((*rest, *tail))"
            if self._tail == "channel":
                return f"{whole}.movedim(-1, min(1, len(rest)))"
            if self._tail == "dim":
                return f"{whole}.movedim(tuple(range(-len(dims), 0)), dims)"
            return whole
        return f"{output}.reshape((*rest, {output}.shape[-1]))"


def camel(words: str) -> str:
    """`sum_weight` as `SumWeight`."""
    return "".join(word.capitalize() for word in words.split("_"))


def function_name(definition: Definition) -> str:
    """What the autograd function of a variant is called."""
    return f"_{camel(definition.variant)}Function"


def _has_slope(expr: Basic, name: str) -> bool:
    """Whether an expression depends on a tensor other than by comparing it."""
    if isinstance(expr, (Indexed, Symbol)):
        return str(expr.base if isinstance(expr, Indexed) else expr) == name
    return not isinstance(expr, Relational) and any(_has_slope(a, name) for a in expr.args)


def _refusal(error: str, name: str, wanted: str) -> Iterator[str]:
    """Raise an error that says which shape a tensor must have, and which it has."""
    yield f"    raise {error}("
    yield f'        f"{name} must have {wanted}, "'
    yield f'        f"got shape {{[*{name}.shape]}}"'
    yield "    )"


def _pattern(choice: Choice, value: object) -> str:
    if choice.kind == "given":
        return "Tensor()" if value else "None"
    if value is OTHERWISE:
        return "_"
    return "math.inf" if value == float("inf") else repr(value)


def _annotation(argument: Argument) -> str:
    if argument.name == "ignore_index":
        return "int | None"
    if argument.tensors:
        return "Tensor" if argument.default is None else "Tensor | None"
    kinds = {
        "size_average": "bool | None",
        "reduce": "bool | None",
        "dim": "int | Sequence[int] | None",
        "normalized_shape": "Sequence[int]",
        "num_groups": "int",
        "dtype": "torch.dtype | None",
    }
    if argument.name in kinds:
        return kinds[argument.name]
    default = argument.default or ""
    if default in ("True", "False"):
        return "bool"
    if default[:1] in "'\"" and default:
        return "str"
    return "float | None" if default == "None" else "float"
