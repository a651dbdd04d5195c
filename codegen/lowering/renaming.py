"""A program in other names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sympy import IndexedBase, Symbol

from codegen.program import Program, Residuals
from derive.language.definition import Dim, Let, Option, Tensor
from derive.language.expressions import Element, Index, Parameter, with_args


@dataclass(frozen=True)
class Renaming:
    """What is called otherwise: tensors, options and sizes by name, and letters."""

    names: Mapping[str, str]
    letters: Mapping[Index, Index] = field(default_factory=dict)

    def program(self, program: Program) -> Program:
        """A program in these names."""
        if not self.names and all(i == other for i, other in self.letters.items()):
            return program
        return replace(
            program,
            params=tuple(map(self._tensor, program.params)),
            options=tuple(map(self._option, program.options)),
            unpacked=self._residuals(program.unpacked),
            saved=self._residuals(program.saved),
            lets=tuple(
                Let(self._tensor(let.tensor), self._expression(let.value)) for let in program.lets
            ),
            results=tuple(
                (self.names.get(name, name), self._tensor(tensor))
                for name, tensor in program.results
            ),
        )

    def _tensor(self, tensor: Tensor) -> Tensor:
        name = self.names.get(tensor.name, tensor.name)
        return replace(tensor, name=name, dims=tuple(map(self._dim, tensor.dims)))

    def _dim(self, dim: Dim) -> Dim:
        if isinstance(dim, tuple):
            return tuple(self.letters.get(i, i) for i in dim)
        return self.letters.get(dim, dim)

    def _option(self, option: Option) -> Option:
        return replace(option, name=self.names.get(option.name, option.name))

    def _residuals(self, residuals: Residuals) -> Residuals:
        tensors = tuple(map(self._tensor, residuals.tensors))
        return replace(
            residuals, tensors=tensors, options=tuple(map(self._option, residuals.options))
        )

    def _expression(self, expr: Any) -> Any:
        if isinstance(expr, Index):
            return self.letters.get(expr, expr)
        if isinstance(expr, Element):
            base = IndexedBase(self._expression(expr.base.label))
            return Element(base, *map(self._expression, expr.indices))
        if isinstance(expr, Symbol):
            return self._symbol(expr)
        return with_args(expr, [self._expression(a) for a in expr.args])

    def _symbol(self, symbol: Symbol) -> Symbol:
        if symbol.name not in self.names:
            return symbol
        kind = Parameter if isinstance(symbol, Parameter) else Symbol
        return kind(self.names[symbol.name], **symbol.assumptions0)
