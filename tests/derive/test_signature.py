"""The public function of an operation: the variants that its choices make, and their names."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from symtable import SymbolTable, symtable
from typing import Any

import pytest
import torch
from sympy import oo

import generated
from codegen import pipeline
from codegen.torch import checks, demands, dispatch, shapes, views
from derive import (
    Builder,
    Definition,
    DefinitionError,
    Index,
    Sum,
    Tensor,
    Where,
    define,
    exp,
    library,
    sin,
)
from derive.derivation import derive
from derive.language.checks import OF_EMITTED_CODE
from derive.language.expressions import Element
from derive.language.interface import LOCALS


def begun(signature: str) -> tuple[Builder, Index, Tensor]:
    op = define("chosen", "What its arguments choose.")
    n = op.axes("n", "elements")
    op.called(signature)
    return op, n, op.input("x", n)


def twofold(first: Mapping[Any, int], second: Mapping[Any, int], both: bool = False) -> Definition:
    """`(factor*x)**power`: the factor chosen by `a`; the power by `b`, or by `a` too."""
    op, n, x = begun("x, a='none', b='none'")
    u = op.cases("u", "a", {value: ([n], factor * x[n]) for value, factor in first.items()})
    chosen = "a" if both else "b"
    y = op.cases("y", chosen, {value: ([n], u[n] ** power) for value, power in second.items()})
    return op.build(y)


def test_choices_of_the_same_words_have_variants_of_their_own() -> None:
    definition = twofold({"none": 1, "sum": 2}, {"none": 2, "sum": 3})
    names = [variant.variant for variant in definition.variants]
    assert names == ["", "b_sum", "a_sum", "a_sum_b_sum"]
    chosen = pipeline.compile(definition).chosen
    x = torch.tensor([1.0, 2.0])
    assert chosen(x).tolist() == [1, 4]
    assert chosen(x, b="sum").tolist() == [1, 8]
    assert chosen(x, a="sum").tolist() == [4, 16]
    assert chosen(x, a="sum", b="sum").tolist() == [8, 64]


def test_a_variant_is_called_by_what_can_stand_in_a_name() -> None:
    definition = twofold({"none": 1, "batch-mean": 2, 1e20: 3, -1.5: 4}, {"none": 2})
    names = [variant.variant for variant in definition.variants]
    assert names == ["", "batch_mean", "a_1e20", "a_minus_1_5"]


def test_variants_that_would_have_one_name_are_refused() -> None:
    with pytest.raises(DefinitionError, match=r"2 of its variants would be called 'sum_mean'"):
        twofold({"none": 1, "sum": 2, "sum-mean": 3}, {"none": 2, "mean": 3})


def test_cases_of_one_argument_are_for_the_same_values() -> None:
    with pytest.raises(DefinitionError, match=r"for a = 'none', 'cube', and those of 'u' for"):
        twofold({"none": 1, "double": 2}, {"none": 2, "cube": 3}, both=True)


@pytest.mark.parametrize(
    ("choice", "cases", "said"),
    [
        ("a", lambda n, x: {}, "there is no case"),
        (("a", "b"), lambda n, x: {1: ([n], x[n])}, "a value of each of a, b, got 1"),
        ("a", lambda n, x: {0: ([n], Where(x[n] > 0, x[n], -oo))}, "a number everywhere, got"),
    ],
)
def test_cases_that_are_none_are_refused(
    choice: Any, cases: Callable[[Index, Tensor], Mapping[Any, Any]], said: str
) -> None:
    op, n, x = begun("x, a=0, b=0")
    with pytest.raises(DefinitionError, match=said):
        op.cases("u", choice, cases(n, x))


def test_a_let_that_is_positive_in_one_case_alone_is_one_tensor_there() -> None:
    op, n, x = begun("x, mode=0")
    s = op.cases("s", "mode", {0: ([n], exp(x[n])), 1: ([n], x[n])})
    y = op.let("y", [n], (s[n] - exp(x[n])) ** 2 + sin(s[n]) * exp(x[n]))
    for variant in op.build(y).variants:
        lets = [*variant.lets, *derive(variant).forward, *derive(variant).backward.lets]
        read = [e for let in lets for e in (let.tensor.element, *let.value.atoms(Element))]
        assert len({e.base for e in read if e.tensor_name == "s"}) == 1


@pytest.mark.parametrize("name", ["last", "shape", "split", "rows", "found", "outer"])
def test_nothing_is_called_as_the_function_calls_something_of_its_own(name: str) -> None:
    op, n, x = begun(f"x, {name}=2.0")
    factor = op.option(name, 2.0)
    with pytest.raises(DefinitionError, match=f"'{name}' is what its function calls"):
        op.build(op.let("y", [n], factor * x[n]))


def test_a_result_is_not_called_so_either() -> None:
    op, n, x = begun("x")
    with pytest.raises(DefinitionError, match="'shape' is what its function calls"):
        op.build(op.let("shape", [n], 2 * x[n]))


@pytest.mark.parametrize("name", ["torch", "range", "_wide", "N"])
def test_an_argument_is_called_as_nothing_that_the_function_reads(name: str) -> None:
    op, n, x = begun(f"x, {name}='none'")
    y = op.cases("y", name, {"none": ([n], x[n]), "double": ([n], 2 * x[n])})
    with pytest.raises(DefinitionError, match=f"'{name}' is "):
        op.build(y)


@pytest.mark.parametrize(
    ("roles", "argument"), [("rest dim", "dim"), ("rest features", "normalized_shape")]
)
def test_a_role_that_an_argument_names_needs_that_argument(roles: str, argument: str) -> None:
    op = define("rows", "The sums of rows.")
    n, k = op.axes("n k", roles)
    op.called("x, axis")
    x = op.input("x", n, k)
    with pytest.raises(DefinitionError, match=f"op.called has no argument '{argument}'"):
        op.build(op.let("y", [n], Sum(x[n, k], k)))


def assigned(line: str) -> set[str]:
    """The names that a line of emitted code assigns, if it is an assignment."""
    found = re.match(r"\s*(\w+(?:, \w+)*) = ", line)
    return set(found[1].split(", ")) if found else set()


def test_whatever_a_public_function_may_assign_is_known() -> None:
    """All that the printers assign, also for what no operation of the library is called with."""
    found: set[str] = set()
    for module in (checks, demands, dispatch, shapes, views):
        for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text("utf-8"))):
            text = node.values[0] if isinstance(node, ast.JoinedStr) else node
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                found |= assigned(text.value)
    assert {"shape", "dtype", "outer"} < found
    # Older arguments are put into those that they stand for.
    assert found - {"reduction", "dim", "correction"} <= LOCALS


@pytest.mark.parametrize("name", library.names())
def test_the_names_that_a_function_has_of_its_own_are_known(name: str) -> None:
    definition = library.load(name)
    if definition.interface is None:
        return
    module = ast.parse((Path(generated.__file__).parent / f"{name}.py").read_text("utf-8"))
    function = next(n for n in module.body if isinstance(n, ast.FunctionDef) and n.name == name)
    stored = {
        n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    inner = [node.target for node in ast.walk(function) if isinstance(node, ast.comprehension)]
    stored -= {n.id for target in inner for n in ast.walk(target) if isinstance(n, ast.Name)}
    known = {argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)}
    for variant in definition.variants:
        known |= {*variant.tensors} | {axis.size.name for axis in variant.axes}
    assert stored - known - {"_"} <= LOCALS


def read_outside(table: SymbolTable) -> Iterator[str]:
    """The names that the functions of a module read of the module, and of Python."""
    if table.get_type() == "function":
        yield from (s.get_name() for s in table.get_symbols() if s.is_global())
    for inner in table.get_children():
        yield from read_outside(inner)


@pytest.mark.parametrize("name", [n for op in library.names() for n in (op, f"c/{op}")])
def test_nothing_is_called_as_what_emitted_functions_read(name: str) -> None:
    file = Path(generated.__file__).parent / f"{name}.py"
    table = symtable(file.read_text("utf-8"), str(file), "exec")
    defined = {inner.get_name() for inner in table.get_children()}
    read = {n for n in read_outside(table) if not n.startswith("_") and n not in defined}
    assert {n for n in read if not n.endswith("Gradients")} <= OF_EMITTED_CODE
