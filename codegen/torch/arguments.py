"""What the arguments of a public function are: tensors of a definition, options, choices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from sympy import Basic, Symbol
from sympy.core.relational import Relational

from derive.language.conventions import CONVENTIONS
from derive.language.definition import Definition, Tensor
from derive.language.expressions import Axis, Element, tensor_name
from derive.language.interface import Argument, Interface, Variant


@dataclass(frozen=True)
class Arguments:
    """An interface, asked about its arguments by name."""

    interface: Interface

    @cached_property
    def by_tensor(self) -> dict[str, Argument]:
        return {name: a for a in self.interface.arguments for name in a.tensors}

    @cached_property
    def named(self) -> set[str]:
        return {a.name for a in self.interface.arguments}

    @cached_property
    def conventional(self) -> set[str]:
        """The arguments that mean what PyTorch means by their names."""
        other = {*self.options, *(choice.name for choice in self.interface.choices)}
        return {
            a.name
            for a in self.interface.arguments
            if not a.tensors and a.name not in other and self._follows(a.name)
        }

    def _follows(self, name: str) -> bool:
        if name not in CONVENTIONS:
            return False
        convention = CONVENTIONS[name]
        here = not convention.roles or not self.roles.isdisjoint(convention.roles)
        return (here or (name == "dim" and self.halved)) and self.named.issuperset(
            convention.beside
        )

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Every input of any variant, by name."""
        return {t.name: t for v in self.interface.variants for t in v.definition.inputs}

    @cached_property
    def options(self) -> list[str]:
        """Every option of any variant, by name."""
        return list({o.name: None for v in self.interface.variants for o in v.definition.options})

    @cached_property
    def roles(self) -> set[str]:
        return {role for _, role in self.interface.roles}

    @cached_property
    def halved(self) -> bool:
        """Whether an argument is cut into its halves, along the argument `dim`."""
        return any(a.halved for a in self.interface.arguments)

    @cached_property
    def primary(self) -> str:
        """The variable whose shape the others follow: the first argument, or its first half."""
        first = next(a for a in self.interface.arguments if a.tensors)
        return self.variable(first.tensors[0])

    @cached_property
    def first_real(self) -> str:
        """The tensor whose dtype the result has: the first that is none of integers."""
        return next(name for name, tensor in self.tensors.items() if not tensor.integer)

    @cached_property
    def real(self) -> str:
        """The variable that holds it."""
        return self.variable(self.first_real)

    @cached_property
    def alike(self) -> list[str]:
        """The variables of the real tensors that are always given, over the axes of the first; of
        the halves of one, the first."""
        if self.halved:
            return [self.primary]
        real = {n: t for n, t in self.tensors.items() if not (t.integer or self.one_of_two(n))}
        first = next(iter(real.values()))
        same = [n for n, t in real.items() if t.axes == first.axes and not self.optional(n)]
        return list(dict.fromkeys(map(self.variable, same)))

    def roles_of(self, tensor: Tensor) -> tuple[str | None, ...]:
        return tuple(self.interface.role(axis) for axis in tensor.axes)

    def roles_over(self, axes: tuple[Axis, ...]) -> tuple[str | None, ...]:
        return tuple(self.interface.role(axis) for axis in axes)

    def variable(self, tensor: str) -> str:
        """The variable that holds a tensor as it was given: its argument, or a half of it."""
        argument = self.by_tensor[tensor]
        return tensor if argument.halved else argument.name

    def optional(self, name: str) -> bool:
        return any(c.kind == "given" and c.name == name for c in self.interface.choices)

    def one_of_two(self, name: str) -> bool:
        argument = self.by_tensor[name]
        return len(argument.tensors) > 1 and not argument.halved

    def may_lack(self, name: str) -> bool:
        """Whether a tensor is not always given."""
        return name in dict(self.interface.pairs) or self.optional(name)

    def of_some_variants(self, name: str) -> bool:
        """Whether only some variants take a tensor, which is seen where they are called."""
        return self.may_lack(name) or self.one_of_two(name)

    def given(self, how: str) -> list[str]:
        """The tensors and options that are given in a way, a key of `GIVEN`."""
        return [name for name, way in self.interface.given if way == how]

    @cached_property
    def buffers(self) -> set[str]:
        """The tensors that some variant updates."""
        return {name for v in self.interface.variants for name, _ in v.definition.updates}

    @cached_property
    def masks(self) -> dict[str, Tensor]:
        """The integers beside which each mask stands."""
        found: dict[str, Tensor] = {}
        for name in self.given("mask"):
            beside = (t for t in self.tensors.values() if t.axes == self.tensors[name].axes)
            found[name] = next(t for t in beside if t.integer)
        return found

    def is_mask(self, argument: Argument) -> bool:
        """Whether an argument stands for a mask, which is no tensor of the caller's."""
        return any(name in self.masks for name in argument.tensors)

    @cached_property
    def real_or_integer(self) -> list[str]:
        """The variables that hold real numbers or integers, as the caller likes."""
        return list(dict.fromkeys(map(self.variable, filter(self.one_of_two, self.tensors))))

    def with_roles(self, *roles: str | None) -> list[str]:
        """The variables of the tensors over exactly these roles."""
        found = [n for n, t in self.tensors.items() if self.roles_of(t) == roles]
        return list(dict.fromkeys(self.variable(n) for n in found))

    def is_constant(self, name: str) -> bool:
        """Whether a real tensor has no gradient in any variant, though its value would have one."""
        return not any(name in v.definition.wrt for v in self.interface.variants) and any(
            self.is_constant_in(v.definition, name) for v in self.interface.variants
        )

    def is_constant_in(self, definition: Definition, name: str) -> bool:
        """Whether a real tensor has no gradient in a variant, though its value would have one."""
        if self.tensors[name].integer or name in definition.wrt:
            return False
        return any(_has_slope(let.value, name) for let in definition.lets)

    @cached_property
    def indexed(self) -> dict[str, tuple[Tensor, int]]:
        """For each tensor of integers, a tensor and the place of the axis that it indexes."""
        found: dict[str, tuple[Tensor, int]] = {}
        for element in {e for v in self.interface.variants for e in _elements(v)}:
            for place, index in enumerate(element.indices):
                home = self.tensors.get(element.tensor_name)
                name = tensor_name(index)
                if home is not None and name in self.tensors:
                    found[name] = home, place
                elif name in self.tensors:
                    axis = self._axis(element.tensor_name, place)
                    found.setdefault(name, next(self._shown(axis)))
        return found

    def _axis(self, name: str, place: int) -> Axis:
        definitions = (v.definition for v in self.interface.variants)
        return next(d.tensors[name].axes[place] for d in definitions if name in d.tensors)

    def _shown(self, axis: Axis) -> Iterator[tuple[Tensor, int]]:
        """The inputs in whose shape the size of an axis is seen."""
        for tensor in self.tensors.values():
            if axis in tensor.axes and not tensor.integer:
                yield tensor, tensor.axes.index(axis)


def _elements(variant: Variant) -> set[Element]:
    return {e for let in variant.definition.lets for e in let.value.atoms(Element)}


def _has_slope(expr: Basic, name: str) -> bool:
    """Whether an expression depends on a tensor other than by comparing it."""
    if isinstance(expr, (Element, Symbol)):
        return str(expr.base if isinstance(expr, Element) else expr) == name
    return not isinstance(expr, Relational) and any(_has_slope(a, name) for a in expr.args)
