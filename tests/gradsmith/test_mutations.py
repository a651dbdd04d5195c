"""Every mistake made on purpose in an emitted backward is caught, by each check on its own.

A mutant is the emitted source with one change in its syntax tree: a term dropped, a sign flipped,
N for N - 1 or N - 1 for N, a factor or a divisor left out, a mean for a sum, another function than
the right one. In C it is one in the text of a function, where an element is also read at the wrong
place.
"""

from __future__ import annotations

import ast
import copy
import importlib.util
import inspect
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from importlib import import_module
from itertools import product
from pathlib import Path
from types import ModuleType

import pytest
import torch

from derive import StopGradient, library
from derive.verification.evaluate import Array
from derive.verification.points import random_point, two_sizes
from gradsmith.emitted import emitted
from gradsmith.proof.check import in_float32
from gradsmith.proof.proofs import (
    backward_problems,
    finite_difference_problems,
    forward_problems,
    gradcheck_problems,
    namesake_problems,
    second_order_problems,
    value_and_grad_problems,
)
from gradsmith.proof.trial import Trial

pytestmark = pytest.mark.slow

SMALL = [name for name in library.names() if not name.startswith("makemore")]
MODELS = [name for name in library.names() if name.startswith("makemore")]

SHIFTED = "the largest logit's gradient is zero: a shift of the logits changes nothing"
CENTRED = "batch norm subtracts whatever was added before it"

UNSEEN = {
    ("makemore_mlp_chunked", "a sign flipped: -grad_norm_logits.sum(1)"): SHIFTED,
    ("makemore_mlp_chunked", "mean for sum: grad_norm_logits.sum(1)"): SHIFTED,
    (
        "makemore_mlp_chunked",
        "a term dropped: grad_norm_logits.scatter_add(1, logit_maxes_argmax[:, None],"
        " grad_logit_maxes[:, None])",
    ): SHIFTED,
    ("makemore_mlp_chunked", "mean for sum: grad_hprebn.sum(0)"): CENTRED,
    ("makemore_mlp", "mean for sum: grad_hprebn.sum(0)"): CENTRED,
    ("makemore_mlp", "the first term dropped: torch.addmm(b1, embcat, W1)"): CENTRED,
    (
        "distillation_loss",
        "no clamp: torch.log_softmax(teacher_scaled, 1).clamp(min=-10000000000.0)",
    ): "only where a teacher leaves classes out, of which there are tests elsewhere",
    (
        "focal_loss",
        "no masked_fill: (-(wrong ** gamma * right)).masked_fill(wrong == 0, 0)",
    ): "where nothing is wrong, a logarithm of one is what the power is multiplied by",
    (
        "focal_loss",
        "no masked_fill: (wrong ** gamma).masked_fill(wrong_is_zero, 0)",
    ): "where nothing is wrong, a difference of zero is what the power is multiplied by",
    (
        "focal_loss",
        "no masked_fill: (wrong ** (gamma - 1) * right).masked_fill(wrong_is_zero, 0)",
    ): "only where a probability is rounded to one, of which there are tests elsewhere",
}
"""The mutants that no check sees, by operation and change; and why."""

AT_EDGES = {
    ("binary_cross_entropy", "a sign flipped: -100"),
    ("binary_cross_entropy", "no clamp: log1p_neg_x.clamp(min=-100)"),
    ("binary_cross_entropy", "no clamp: log_x.clamp(min=-100)"),
    (
        "binary_cross_entropy",
        "a choice turned round: torch.where(x_low, log_x.clamp(min=-100).detach(), log_x)",
    ),
    (
        "binary_cross_entropy",
        "no masked_fill: torch.reciprocal(1 - x).masked_fill(log1p_neg_x_low, 0)",
    ),
    ("binary_cross_entropy", "no masked_fill: torch.reciprocal(x).masked_fill(x_low, 0)"),
    *(
        ("cosine_embedding_loss", f"{words}: (input{place} ** 2).sum(1) + 1e-12")
        for words in ("the right term dropped", "a sign flipped")
        for place in (1, 2)
    ),
    *(
        (
            "cosine_similarity",
            f"no masked_fill: torch.rsqrt({squared}).masked_fill({squared} == 0, 0)",
        )
        for squared in ("x1_squared_sum", "x2_squared_sum")
    ),
    ("hardsigmoid", "no masked_fill: (x / 6 + 0.5).masked_fill(x_high, 1)"),
    ("hardsigmoid", "no masked_fill: (x / 6 + 0.5).masked_fill(x_high, 1).masked_fill(x_low, 0)"),
    (
        "hardsigmoid",
        "no masked_fill: torch.where(x_high, torch.tensor(0, dtype=x.dtype, device=x.device),"
        " 1 / 6).masked_fill(x_low, 0)",
    ),
    ("hardswish", "no masked_fill: torch.where(x < 3, (x + 3) / 6 * x, x).masked_fill(x <= -3, 0)"),
    ("hardswish", "no masked_fill: torch.where(x < 3, x / 3 + 0.5, 1).masked_fill(x <= -3, 0)"),
    ("kl_div", "no masked_fill: (log_target * target).masked_fill(target_is_zero, 0)"),
    ("kl_div", "no masked_fill: (log_target + 1).masked_fill(target_is_zero, 0)"),
    (
        "pairwise_distance",
        "no masked_fill: torch.rsqrt(off_squared_sum).masked_fill(off_squared_sum_is_zero, 0)",
    ),
    ("normalize", "no clamp: size.clamp(min=eps)"),
    ("normalize", "no masked_fill: inv_size_or_eps.masked_fill(size_mask, 0)"),
    ("normalize", "no masked_fill: grad_y_dot_x.masked_fill(size_mask, 0)"),
    (
        "normalize",
        "no masked_fill: torch.rsqrt(x_squared_sum).masked_fill(x_squared_sum_is_zero, 0)",
    ),
    ("std", "no masked_fill: torch.rsqrt(square).masked_fill(square_is_zero, 0)"),
    (
        "vector_norm",
        "no masked_fill: torch.rsqrt(x_squared_sum).masked_fill(x_squared_sum_is_zero, 0)",
    ),
}
"""The mutants that are seen only where no number that is drawn comes near, or seldom."""

EDGES = [Decimal(edge) for edge in ("0", "1", "9", "-9", "1e-13")]

# In C the largest logit has a let of its own; and b1 is added before batch norm, which subtracts
# whatever was. A logarithm of less than -100 is held there, which no number drawn here comes near.
UNSEEN_IN_C = {
    "binary_cross_entropy": r"-100 \? -100",
    "cross_entropy": r"logits_max = larger",
    "makemore_mlp": r"logits_max = larger|\bgrad_b1\w*\[",
    "makemore_mlp_chunked": r"grad_norm_logits_sum|grad_logit_maxes|\bgrad_b1\w*\[",
}
BLOCKS = r"_parts\[block"
"""What blocks of rows come to, which is told apart where there are several."""

# Calls that add a term to their first argument; without it, that argument is what is left.
ADDERS = {"add", "sub", "addcmul", "addcdiv", "addmm", "scatter", "scatter_add", "index_add"}

# What may be taken for something that takes the same, and comes to another number.
INSTEAD = {
    "exp": "expm1",
    "expm1": "exp",
    "log": "log1p",
    "log1p": "log",
    "tanh": "sigmoid",
    "sigmoid": "tanh",
    "erf": "tanh",
    "sqrt": "square",
    "rsqrt": "sqrt",
    "reciprocal": "neg",
    "abs": "square",
    "sign": "abs",
    "softmax": "log_softmax",
    "log_softmax": "softmax",
    "logsumexp": "sum",
    "logaddexp": "maximum",
    "sum": "mean",
    "mean": "sum",
}


def replacements(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What may stand in a node's place by mistake."""
    match node:
        case ast.BinOp():
            yield from _of_two(node)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield "a sign flipped", operand
        case ast.Expr(value=ast.Call(func=ast.Attribute())):
            yield "a statement dropped", ast.Pass()
        case ast.AugAssign(op=ast.Add() | ast.Sub() as op):
            yield "a sign flipped", ast.AugAssign(node.target, _other(op), node.value)
            yield "a statement dropped", ast.Pass()
        case ast.AugAssign():
            yield "a statement dropped", ast.Pass()
        case ast.Return(value=ast.Call(func=made, args=[first, *rest])):
            double = ast.BinOp(ast.Constant(2), ast.Mult(), first)
            yield "a gradient doubled", ast.Return(ast.Call(made, [double, *rest], []))
        case ast.Call(func=ast.Attribute(value=of, attr=name) as called):
            # A function of torch and a method take the same, but for what it is a method of.
            of_torch = isinstance(of, ast.Name) and of.id == "torch"
            first, *rest = node.args if of_torch else [of, *node.args]
            yield from _of_a_call(called, of_torch, name, first, rest, node.keywords)


def _of_two(node: ast.BinOp) -> Iterator[tuple[str, ast.AST]]:
    """What may stand in the place of an operation on two."""
    left, right = node.left, node.right
    match node:
        case ast.BinOp(left=ast.Name(id=size), op=ast.Sub(), right=ast.Constant(value=1)) if (
            size.isupper()
        ):
            yield f"{size} for {size} - 1", left
        case ast.BinOp(op=ast.Add() | ast.Sub() as op):
            yield "the right term dropped", left
            yield "the left term dropped", right
            yield "a sign flipped", ast.BinOp(left, _other(op), right)
        case ast.BinOp(op=ast.Mult()):
            yield "the right factor left out", left
            yield "the left factor left out", right
        case ast.BinOp(op=ast.Pow()):
            yield "the exponent left out", left
        case ast.BinOp(op=ast.Div()):
            yield "the divisor left out", left
            match right:
                case ast.Name(id=size) | ast.BoolOp(values=[ast.Name(id=size), *_]) if (
                    size.isupper()
                ):
                    less = ast.BinOp(ast.Name(size, ast.Load()), ast.Sub(), ast.Constant(1))
                    yield f"{size} - 1 for {size}", ast.BinOp(left, ast.Div(), less)


def _other(op: ast.Add | ast.Sub) -> ast.Add | ast.Sub:
    return ast.Sub() if isinstance(op, ast.Add) else ast.Add()


def _of_a_call(
    called: ast.Attribute,
    of_torch: bool,
    name: str,
    first: ast.expr,
    rest: list[ast.expr],
    keywords: list[ast.keyword],
) -> Iterator[tuple[str, ast.AST]]:
    """What may stand in the place of what a function makes of a tensor and of other arguments."""

    def call(name: str, *args: ast.expr, keywords: list[ast.keyword] = keywords) -> ast.Call:
        of, given = (called.value, args) if of_torch else (args[0], args[1:])
        return ast.Call(ast.Attribute(of, name, ast.Load()), [*given], keywords)

    if name in ADDERS:
        yield "a term dropped", first
        if name == "addmm":
            yield "the first term dropped", call("mm", *rest)
        if keywords:
            yield "the number before a term left out", call(name, first, *rest, keywords=[])
    if name == "addcmul":
        by = [ast.keyword("alpha", keyword.value) for keyword in keywords]
        for words, factor in zip(("right", "left"), rest, strict=True):
            yield f"the {words} factor left out", call("add", first, factor, keywords=by)
    if name in INSTEAD:
        yield f"{INSTEAD[name]} for {name}", call(INSTEAD[name], first, *rest)
    if name == "where":
        yield "a choice turned round", call(name, first, *reversed(rest))
    if name in ("masked_fill", "clamp"):
        yield f"no {name}", first
    if name in ("gather", "embedding"):
        axis = rest[0] if name == "gather" else ast.Constant(0)
        turned = ast.Call(ast.Attribute(first, "flip", ast.Load()), [axis], [])
        yield "counted from the other end", call(name, turned, *rest)


def compared(root: ast.FunctionDef) -> set[int]:
    """What stands in a condition: there a change is seen only right beside the border."""
    calls = [n for n in ast.walk(root) if isinstance(n, ast.Call)]
    asking = ("torch.where", "torch.sign", "masked_fill")
    conditions = [c.args[0] for c in calls if ast.unparse(c.func).endswith(asking)]
    if root.name == "forward":
        conditions += [n for n in ast.walk(root) if isinstance(n, ast.Compare)]
    return {id(node) for condition in conditions for node in ast.walk(condition)}


Changes = Collection[tuple[str, str]]


def mutants(
    module: ModuleType, function: str, among: Changes | None = None
) -> Iterator[tuple[str, ModuleType]]:
    """The module with one change in one of its functions, for every change that is seen anywhere;
    or for those `among` the given ones.

    It is the same module each time, which is whole again afterwards.
    """
    tree = ast.parse(inspect.getsource(module))
    whole = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function)
    nodes, hidden = list(ast.walk(whole)), compared(whole)
    hidden |= {id(n) for d in whole.args.kw_defaults if d for n in ast.walk(d)}
    name, original = module.__name__.rpartition(".")[2], getattr(module, function)
    for place, node in enumerate(nodes):
        for words, new in () if id(node) in hidden else replacements(node):
            change = name, f"{words}: {ast.unparse(node)}"
            if change not in among if among is not None else change in UNSEEN or change in AT_EDGES:
                continue
            root = copy.deepcopy(whole)
            _replace(root, list(ast.walk(root))[place], new)
            changed = ast.fix_missing_locations(ast.Module([root], []))
            try:
                with warnings.catch_warnings(action="ignore", category=SyntaxWarning):
                    exec(compile(changed, "<mutant>", "exec"), vars(module))
                # Two changes may read alike: the place tells them apart.
                yield f"{change[1]} at {place}", module
            finally:
                setattr(module, function, original)


def _replace(root: ast.AST, old: ast.AST, new: ast.AST) -> None:
    for parent in ast.walk(root):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
            elif isinstance(value, list) and any(item is old for item in value):
                setattr(parent, name, [new if item is old else item for item in value])


def trial(name: str, module: ModuleType, seed: int = 0, place: int = 1) -> Trial:
    definition = library.load(name)
    sizes = two_sizes(definition)[place]
    return Trial(definition, module, random_point(definition, sizes, seed), seed)


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
        return any(True for one in (trial, trial.usually) for _ in check(one))
    except Exception:
        return True


def sees(check: str, name: str) -> bool:
    """Whether a check applies: `gradcheck` does not see what stands under `stop_gradient`."""
    stopped = any(let.value.has(StopGradient) for let in library.load(name).lets)
    return check != "gradcheck" or not stopped


TRIALS = [(seed, place) for place in (1, 0) for seed in (0, 1)]
"""Seeds and sizes: one point may be on one side of a choice; and loops take several rows at once
where there are as many."""


def caught_somewhere(
    check: Callable[[Trial], Iterable[object]], name: str, module: ModuleType
) -> bool:
    return any(caught(check, trial(name, module, *which)) for which in TRIALS)


PAIRS = [(name, check) for name in SMALL for check in CHECKS if sees(check, name)]


@pytest.mark.parametrize(("name", "check"), PAIRS)
def test_each_check_alone_catches_every_mutant(name: str, check: str) -> None:
    module = emitted(library.load(name))
    assert not caught(CHECKS[check], trial(name, module))
    seen = {w: caught_somewhere(CHECKS[check], name, m) for w, m in mutants(module, "backward")}
    assert len(seen) > 1
    assert all(seen.values()), [words for words in seen if not seen[words]]


def first_order_problems(trial: Trial) -> Iterator[object]:
    yield from forward_problems(trial)
    yield from backward_problems(trial)


@pytest.mark.parametrize("name", SMALL)
def test_a_mutated_forward_is_caught(name: str) -> None:
    module = emitted(library.load(name))
    seen = {
        words: caught_somewhere(first_order_problems, name, mutant)
        for words, mutant in mutants(module, "forward")
    }
    assert seen
    assert all(seen.values()), [words for words in seen if not seen[words]]


def functions(module: ModuleType) -> list[str]:
    """Those of a module that mutants are made of."""
    return [name for name in ("forward", "backward", *SECOND) if hasattr(module, name)]


def at_edge(name: str, module: ModuleType, edge: Decimal, inputs: Collection[str]) -> Trial:
    """A trial at which some inputs are one and the same number. Options are the usual ones, but
    those that may be zero are."""
    usual = trial(name, module).usually
    values = dict(usual.point.values)
    for tensor in inputs:
        shape, numbers = values[tensor].shape, values[tensor].values
        values[tensor] = Array(shape, (edge,) * len(numbers))
    values |= {o.name: Array((), (Decimal(0),)) for o in usual.definition.options if not o.positive}
    at = replace(usual, point=replace(usual.point, values=values))
    vars(at)["usually"] = at
    return at


def not_finite_problems(trial: Trial) -> Iterator[tuple[str, str]]:
    for name, gradient in trial.emitted_gradients(trial.sample).items():
        if not gradient.isfinite().all():
            yield name, f"grad_{name} is not finite"


def edge_problems(name: str, module: ModuleType) -> set[tuple[object, ...]]:
    """What of a module is not as PyTorch's operation has it, which gradients are no numbers, and
    which second derivatives are not autograd's, where inputs are at an edge: each of them, or all.
    """
    real = [tensor.name for tensor in library.load(name).inputs if not tensor.integer]
    found: set[tuple[object, ...]] = set()
    for edge, inputs in product(EDGES, [real, *([each] for each in real)]):
        at = at_edge(name, module, edge, inputs)
        for check in (namesake_problems, not_finite_problems, second_order_problems):
            where = edge, *inputs, check
            try:
                found |= {(*where, about) for about, _ in check(at)}
            except Exception as error:
                found.add((*where, type(error)))
    return found


@pytest.mark.parametrize("name", sorted({name for name, _ in AT_EDGES}))
def test_what_no_random_point_shows_is_caught_at_an_edge(name: str) -> None:
    module = emitted(library.load(name))
    before = edge_problems(name, module)  # PyTorch refuses some; some differ on purpose
    seen = {
        words: bool(edge_problems(name, mutant) - before)
        for function in functions(module)
        for words, mutant in mutants(module, function, AT_EDGES)
    }
    made = {(name, words.rpartition(" at ")[0]) for words in seen}
    assert made == {change for change in AT_EDGES if change[0] == name}
    assert all(seen.values()), [words for words in seen if not seen[words]]


@pytest.mark.parametrize("name", sorted({name for name, _ in UNSEEN}))
def test_what_is_not_seen_is_there(name: str) -> None:
    module = emitted(library.load(name))
    names = [*functions(module), *(["value_and_grad"] if name in MODELS else [])]
    made = {w.rpartition(" at ")[0] for f in names for w, _ in mutants(module, f, UNSEEN)}
    assert made == {words for operation, words in UNSEEN if operation == name}


@pytest.mark.parametrize("name", MODELS)
def test_a_mutated_model_is_caught(name: str) -> None:
    module = emitted(library.load(name))
    assert not caught(backward_problems, trial(name, module))
    seen = {w: caught(backward_problems, trial(name, m)) for w, m in mutants(module, "backward")}
    assert len(seen) > 10
    assert all(seen.values()), [words for words in seen if not seen[words]]


@pytest.mark.parametrize("name", ["cross_entropy", "mse_loss", "makemore_mlp"])
def test_a_mutated_value_and_grad_is_caught(name: str) -> None:
    module = emitted(library.load(name))
    seen = {
        words: caught(value_and_grad_problems, trial(name, mutant))
        for words, mutant in mutants(module, "value_and_grad")
    }
    assert seen
    assert all(seen.values()), [words for words in seen if not seen[words]]


SECOND = {
    "double_backward": ("batch_norm", "cross_entropy", "layer_norm", "normalize", "tanh"),
    "residuals_backward": ("cross_entropy", "gelu", "layer_norm", "logsumexp", "rms_norm"),
}


@pytest.mark.parametrize(("way", "name"), [(way, name) for way in SECOND for name in SECOND[way]])
def test_a_mutated_second_order_is_caught(way: str, name: str) -> None:
    module = emitted(library.load(name))
    assert not caught(second_order_problems, trial(name, module))
    seen = {w: caught(second_order_problems, trial(name, m)) for w, m in mutants(module, way)}
    assert seen
    assert all(seen.values()), [words for words in seen if not seen[words]]


# --- in C ---

SIZE = r"\b[A-Z][A-Z_0-9]*\b(?!\()"
VALUE = re.compile(r"^ *(?:const real )?(?P<to>\w+(?:\[[^=]*\])?) (?P<how>[+-]?=) (?P<value>.*);$")
TERM = re.compile(r" [+-] ")
EITHER = re.compile(r" (?:&&|\|\|) ")


def c_statements(lines: list[str]) -> Iterator[tuple[int, int, str]]:
    """The first line, the line after the last, and the text, of each statement of a function."""
    first = 0
    while first < len(lines):
        last = first
        if VALUE.match(lines[first].rstrip() + ";") or lines[first].rstrip().endswith("="):
            while not lines[last].rstrip().endswith((";", "{", "}")):
                last += 1
        text = " ".join(line.strip() for line in lines[first : last + 1])
        yield first, last + 1, text
        first = last + 1


def c_mutated(statement: str) -> Iterator[tuple[str, str]]:
    """Every change that is made to one statement, in words and as text."""
    found = VALUE.match(statement)
    if found is None or re.match(r"^(const )?(int64_t|char)", statement.lstrip()):
        return
    value, before = found["value"], statement[: found.start("value")]
    if "malloc" in value or "_of_threads" in value or "workspace" in value:
        return
    if found["how"] != "=":
        flipped = "-=" if found["how"] == "+=" else "+="
        yield "a sign flipped", before.replace(found["how"], flipped) + value + ";"
        yield "a statement dropped", ";"
    for words, new in c_changes(value):
        yield words, f"{before}{new};"


def c_changes(value: str) -> Iterator[tuple[str, str]]:
    hidden = list(c_compared(value)) + [m.span() for m in re.finditer(r"\[[^\[\]]*\]", value)]

    def is_hidden(place: int) -> bool:
        return any(first <= place < last for first, last in hidden)

    for sign in TERM.finditer(value):
        if is_hidden(sign.start()):
            continue
        first, last = before(value, sign.start(), TERM), after(value, sign.end(), TERM)
        flipped = " - " if sign.group() == " + " else " + "
        yield "a sign flipped", value[: sign.start()] + flipped + value[sign.end() :]
        yield "the right term dropped", value[: sign.start()] + value[last:]
        kept = "-" if sign.group() == " - " else ""
        yield "the left term dropped", value[:first] + kept + value[sign.end() :]
    if value.startswith("-"):
        yield "a sign flipped", value[1:]
    for size in re.finditer(rf"\(real\){SIZE}|/ {SIZE}", value):
        if not is_hidden(size.start()):
            less = re.sub(f"({SIZE})", r"(\1 - 1)", size.group())
            yield "N - 1 for N", value[: size.start()] + less + value[size.end() :]
    for size in re.finditer(rf"({SIZE}) - 1\b", value):
        yield "N for N - 1", value[: size.start()] + size[1] + value[size.end() :]
    for place in re.finditer(r"\w(\[[^\[\]]*[a-z][^\[\]]*\])", value):
        if not is_hidden(place.start()):
            first, last = place.span(1)
            yield "a wrong index", f"{value[:first]}[0]{value[last:]}"


def c_compared(value: str) -> Iterator[tuple[int, int]]:
    """What is compared, and what only has its sign looked at."""
    for sign in re.finditer(r" (?:<=|>=|<|>|==|!=) ", value):
        yield before(value, sign.start(), EITHER), after(value, sign.end(), EITHER)
    for call in re.finditer(r"\bsign\(", value):
        yield call.start(), after(value, call.end(), EITHER)


def before(value: str, place: int, ends: re.Pattern[str]) -> int:
    """Where an operand of something looser than `ends` begins, that ends at a place."""
    depth = 0
    while place > 0:
        depth += (value[place - 1] in ")]") - (value[place - 1] in "([")
        end = value[place - 1] in "?:," or re.search(f"{ends.pattern}$", value[:place])
        if depth < 0 or (depth == 0 and end):
            break
        place -= 1
    return place + len(value[place:]) - len(value[place:].lstrip())


def after(value: str, place: int, ends: re.Pattern[str]) -> int:
    """Where an operand ends that begins at a place."""
    depth = 0
    while place < len(value):
        depth += (value[place] in "([") - (value[place] in ")]")
        if depth < 0 or (depth == 0 and (value[place] in "?:," or ends.match(value, place))):
            break
        place += 1
    return place


# --- modules with a mutant in the place of a function ---


@dataclass(frozen=True)
class Mutants:
    """An operation's module, and what it is with each change."""

    module: ModuleType
    function: str
    words: tuple[str, ...]

    def each(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, ModuleType]]:
        original = getattr(self.module, f"_{self.function}")
        for number, words in enumerate(self.words):
            mutant = self.module.Function(
                original._source,
                f"{self.function}_{number}",
                0,
                original._pointers,
                original._sizes,
                original._options,
            )
            with monkeypatch.context() as patch:
                patch.setattr(self.module, f"_{self.function}", mutant)
                yield words, self.module


def with_mutants(name: str, function: str, folder: Path) -> Mutants:
    """A copy of an operation's module, whose C file has all mutants of a function beside it."""
    source = Path(import_module(f"generated.c.{name}").__file__ or "")
    text = source.with_suffix(".c").read_text()
    found = re.search(rf"^int {function}\((?:.|\n)*?^}}$", text, re.MULTILINE)
    assert found is not None
    head, body = found.group().split(" {\n", 1)
    lines = body.splitlines()
    words: list[str] = []
    variants: list[str] = []
    unseen = re.compile("|".join(filter(None, (BLOCKS, UNSEEN_IN_C.get(name)))))
    for first, last, statement in c_statements(lines):
        used = statement if "const real" not in statement else " ".join(lines[first : last + 1])
        for what, new in () if unseen.search(used) else c_mutated(statement):
            mutant = [*lines[:first], new, *lines[last:]]
            begun = head.replace(f"int {function}(", f"int {function}_{len(words)}(")
            variants.append("\n".join([f"{begun} {{", *mutant]))
            words.append(f"{what}: {statement} -> {new}")
    text = text[: found.end()] + "\n\n" + "\n\n".join(variants) + text[found.end() :]
    (folder / f"{name}.c").write_text(text)
    copy = folder / f"{name}.py"
    copy.write_text(source.read_text())
    spec = importlib.util.spec_from_file_location(f"generated.c.{name}", copy)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert getattr(module, f"_{function}")[torch.float64]  # what does not compile proves nothing
    return Mutants(module, function, tuple(words))


@pytest.mark.parametrize("name", SMALL)
def test_each_check_alone_catches_every_mutant_in_c(
    name: str, quickly_built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = [check for check in CHECKS if sees(check, name)]
    mutants = with_mutants(name, "backward", quickly_built)
    for check in checks:
        assert not caught(CHECKS[check], trial(name, mutants.module))
    missed = [
        (check, words)
        for words, mutant in mutants.each(monkeypatch)
        for check in checks
        if not caught_somewhere(CHECKS[check], name, mutant)
    ]
    assert mutants.words
    assert not missed


@pytest.mark.parametrize(
    ("name", "function", "check"),
    [
        ("makemore_mlp", "backward", backward_problems),
        ("makemore_mlp_chunked", "backward", backward_problems),
        ("makemore_mlp", "value_and_grad", value_and_grad_problems),
        ("cross_entropy", "value_and_grad", value_and_grad_problems),
        ("mse_loss", "value_and_grad", value_and_grad_problems),
    ],
)
def test_a_mutated_function_in_c_is_caught(
    name: str,
    function: str,
    check: Callable[[Trial], Iterable[object]],
    quickly_built: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutants = with_mutants(name, function, quickly_built)
    assert not caught(check, trial(name, mutants.module))
    missed = [
        words
        for words, mutant in mutants.each(monkeypatch)
        if not caught_somewhere(check, name, mutant)
    ]
    assert mutants.words
    assert not missed
