"""Every mistake made on purpose in an emitted backward is caught, by each check on its own.

A mutant is the emitted source with one change in its syntax tree: a term dropped, a sign
flipped, N for N - 1 or N - 1 for N, a factor left out.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType

import pytest

from derive import StopGradient, library
from derive.points import random_point, two_sizes
from gradsmith.check import (
    Trial,
    backward_problems,
    finite_difference_problems,
    gradcheck_problems,
    in_float32,
    value_and_grad_problems,
)
from gradsmith.emitted import emitted

SMALL = [name for name in library.names() if not name.startswith("makemore")]
MODELS = [name for name in library.names() if name.startswith("makemore")]

# The largest logit's gradient is zero, since a shift of the logits changes nothing: what is left
# out of it, or of what it sends back, cannot be seen.
# A logarithm of less than -100 is held there, which no number drawn here comes near.
UNSEEN = {
    "-grad_norm_logits.sum(1)",
    "logit_maxes_argmax[:, None], grad_logit_maxes[:, None]",
    "-100",
}

# Calls that add a term to their first argument; without it, that argument is what is left.
ADDERS = {"add", "sub", "addcmul", "addcdiv", "addmm", "scatter", "scatter_add", "index_add"}


def replacements(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What may stand in a node's place by mistake."""
    match node:
        case ast.BinOp(left=ast.Name(id=size), op=ast.Sub(), right=ast.Constant(value=1)) if (
            size.isupper()
        ):
            yield f"{size} for {size} - 1", node.left
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
            flipped = ast.Sub() if isinstance(op, ast.Add) else ast.Add()
            yield "the right term dropped", left
            yield "the left term dropped", right
            yield "a sign flipped", ast.BinOp(left, flipped, right)
        case ast.BinOp(left=left, op=ast.Div(), right=ast.Name(id=size) as right) if size.isupper():
            one_less = ast.BinOp(right, ast.Sub(), ast.Constant(1))
            yield f"{size} - 1 for {size}", ast.BinOp(left, ast.Div(), one_less)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield "a sign flipped", operand
        case ast.Expr(value=ast.Call(func=ast.Attribute())):
            yield "a statement dropped", ast.Pass()
        case ast.AugAssign(op=ast.Add() | ast.Sub() as op):
            flipped = ast.Sub() if isinstance(op, ast.Add) else ast.Add()
            yield "a sign flipped", ast.AugAssign(node.target, flipped, node.value)
            yield "a statement dropped", ast.Pass()
        case ast.AugAssign():
            yield "a statement dropped", ast.Pass()
        case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr=name)) if name in ADDERS:
            yield "a term dropped", node.args[0]
        case ast.Call(func=ast.Attribute(value=value, attr=name)) if name in ADDERS:
            yield "a term dropped", value
        case ast.Return(value=ast.Call(func=made, args=[first, *rest])):
            double = ast.BinOp(ast.Constant(2), ast.Mult(), first)
            yield "a gradient doubled", ast.Return(ast.Call(made, [double, *rest], []))


def compared(root: ast.AST) -> set[int]:
    """What stands in a condition: there a change is seen only right beside the border."""
    calls = (n for n in ast.walk(root) if isinstance(n, ast.Call))
    asking = ("torch.where", "torch.sign", "masked_fill")
    conditions = [c.args[0] for c in calls if ast.unparse(c.func).endswith(asking)]
    return {id(node) for condition in conditions for node in ast.walk(condition)}


def mutants(module: ModuleType, function: str) -> Iterator[tuple[str, ModuleType]]:
    """A module with one change in one of its functions, for every change there is."""
    source = inspect.getsource(module)
    original = _function(ast.parse(source), function)
    nodes, hidden = list(ast.walk(original)), compared(original)
    for place, node in enumerate(nodes):
        if id(node) in hidden:
            continue
        for words, new in replacements(node):
            tree = ast.parse(source)
            root = _function(tree, function)
            _replace(root, list(ast.walk(root))[place], new)
            mutant = ModuleType(module.__name__)
            exec(compile(ast.fix_missing_locations(tree), "<mutant>", "exec"), vars(mutant))
            # Two changes may read alike: the place tells them apart.
            if not any(unseen in ast.unparse(node) for unseen in UNSEEN):
                yield f"{words}: {ast.unparse(node)} at {place}", mutant


def _function(tree: ast.Module, name: str) -> ast.FunctionDef:
    return next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name)


def _replace(root: ast.AST, old: ast.AST, new: ast.AST) -> None:
    for parent in ast.walk(root):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
            elif isinstance(value, list) and any(item is old for item in value):
                setattr(parent, name, [new if item is old else item for item in value])


def trial(name: str, module: ModuleType) -> Trial:
    definition = library.load(name)
    _, sizes = two_sizes(definition.axes)
    return Trial(definition, module, random_point(definition, sizes, 0), 0)


def in_float32_problems(trial: Trial) -> list[str]:
    return [name for name in trial.definition.wrt if not in_float32(trial, name)[1]]


CHECKS = {
    "autograd": backward_problems,
    "finite differences": finite_difference_problems,
    "gradcheck": gradcheck_problems,
    "float32": in_float32_problems,
}


def caught(check: Callable[[Trial], Iterable[object]], trial: Trial) -> bool:
    try:
        return any(list(check(one)) for one in (trial, trial.usually))
    except Exception:
        return True


def sees(check: str, name: str) -> bool:
    """Whether a check applies: `gradcheck` does not see what stands under `stop_gradient`."""
    stopped = any(let.value.has(StopGradient) for let in library.load(name).lets)
    return check != "gradcheck" or not stopped


PAIRS = [(name, check) for name in SMALL for check in CHECKS if sees(check, name)]


@pytest.mark.parametrize(("name", "check"), PAIRS)
def test_each_check_alone_catches_every_mutant(name: str, check: str) -> None:
    module = emitted(library.load(name))
    assert not caught(CHECKS[check], trial(name, module))
    missed = [
        words
        for words, mutant in mutants(module, "backward")
        if not caught(CHECKS[check], trial(name, mutant))
    ]
    assert not missed


@pytest.mark.parametrize("name", MODELS)
def test_a_mutated_model_is_caught(name: str) -> None:
    module = emitted(library.load(name))
    assert not caught(backward_problems, trial(name, module))
    every = dict(mutants(module, "backward"))
    missed = [
        w for w, mutant in every.items() if not caught(backward_problems, trial(name, mutant))
    ]
    assert len(every) > 10
    assert not missed


@pytest.mark.parametrize("name", ["cross_entropy", "mse_loss", "makemore_mlp"])
def test_a_mutated_value_and_grad_is_caught(name: str) -> None:
    module = emitted(library.load(name))
    every = dict(mutants(module, "value_and_grad"))
    missed = [
        words
        for words, mutant in every.items()
        if not caught(value_and_grad_problems, trial(name, mutant))
    ]
    assert every
    assert not missed
