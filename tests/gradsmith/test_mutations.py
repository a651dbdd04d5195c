"""Every mistake made on purpose in an emitted backward is caught, by each check on its own.

A mutant is the emitted source with one change in its syntax tree: a term dropped, a sign
flipped, N for N - 1 or N - 1 for N, a factor left out. In C it is one in the text of a function,
where an element is also read at the wrong place.
"""

from __future__ import annotations

import ast
import copy
import importlib.util
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch

from derive import StopGradient, library
from derive.verification.points import random_point, two_sizes
from gradsmith.emitted import emitted
from gradsmith.proof.check import in_float32
from gradsmith.proof.proofs import (
    backward_problems,
    finite_difference_problems,
    forward_problems,
    gradcheck_problems,
    second_order_problems,
    value_and_grad_problems,
)
from gradsmith.proof.trial import Trial

SMALL = [name for name in library.names() if not name.startswith("makemore")]
MODELS = [name for name in library.names() if name.startswith("makemore")]

# The largest logit's gradient is zero, since a shift of the logits changes nothing: what is left
# out of it, or of what it sends back, cannot be seen.
# A logarithm of less than -100 is held there, which no number drawn here comes near; 1e-12 keeps a
# root from zero; and only PyTorch's samples have targets that are 1 or -1.
UNSEEN = {
    "-grad_norm_logits.sum(1)",
    "logit_maxes_argmax[:, None], grad_logit_maxes[:, None]",
    "-100",
}
UNSEEN_FORWARD = UNSEEN | {"1e-12", "cosine - margin", "margin - x"}

# In C the largest logit has a let of its own; and b1 is added before batch norm, which subtracts
# whatever was. What blocks of rows come to is told apart where there are several.
UNSEEN_IN_C = re.compile(
    r"-100 \? -100|logits?_max(es)? = larger|grad_norm_logits_sum|grad_logit_maxes"
    r"|\bgrad_b1\w*\[|_parts\[block"
)

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


def compared(root: ast.FunctionDef) -> set[int]:
    """What stands in a condition: there a change is seen only right beside the border."""
    calls = [n for n in ast.walk(root) if isinstance(n, ast.Call)]
    asking = ("torch.where", "torch.sign", "masked_fill")
    conditions = [c.args[0] for c in calls if ast.unparse(c.func).endswith(asking)]
    if root.name == "forward":
        conditions += [n for n in ast.walk(root) if isinstance(n, ast.Compare)]
    return {id(node) for condition in conditions for node in ast.walk(condition)}


def mutants(module: ModuleType, function: str) -> Iterator[tuple[str, ModuleType]]:
    """The module with one change in one of its functions, for every change there is.

    It is the same module each time, which is whole again afterwards.
    """
    tree = ast.parse(inspect.getsource(module))
    whole = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function)
    nodes, hidden = list(ast.walk(whole)), compared(whole)
    hidden |= {id(n) for d in whole.args.kw_defaults if d for n in ast.walk(d)}
    everywhere = UNSEEN_FORWARD if function == "forward" else UNSEEN
    original = getattr(module, function)
    for place, node in enumerate(nodes):
        if id(node) in hidden or any(unseen in ast.unparse(node) for unseen in everywhere):
            continue
        for words, new in replacements(node):
            root = copy.deepcopy(whole)
            _replace(root, list(ast.walk(root))[place], new)
            changed = ast.fix_missing_locations(ast.Module([root], []))
            try:
                exec(compile(changed, "<mutant>", "exec"), vars(module))
                # Two changes may read alike: the place tells them apart.
                yield f"{words}: {ast.unparse(node)} at {place}", module
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


def first_order_problems(trial: Trial) -> Iterator[object]:
    yield from forward_problems(trial)
    yield from backward_problems(trial)


@pytest.mark.parametrize("name", SMALL)
def test_a_mutated_forward_is_caught(name: str) -> None:
    module = emitted(library.load(name))
    missed = [
        words
        for words, mutant in mutants(module, "forward")
        if not caught(first_order_problems, trial(name, mutant))
    ]
    assert not missed


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
VALUE = re.compile(r"^ *(?:const real )?(?P<to>\w+(?:\[[^=]*\])?) (?P<how>[+]?=) (?P<value>.*);$")
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
    if found["how"] == "+=":
        yield "a sign flipped", before.replace("+=", "-=") + value + ";"
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
    for first, last, statement in c_statements(lines):
        used = statement if "const real" not in statement else " ".join(lines[first : last + 1])
        for what, new in () if UNSEEN_IN_C.search(used) else c_mutated(statement):
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


TRIALS = [(seed, place) for place in (1, 0) for seed in (0, 1)]
"""Seeds and sizes: loops take several rows at once where there are as many."""


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
        if not any(caught(CHECKS[check], trial(name, mutant, *which)) for which in TRIALS)
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
        if not any(caught(check, trial(name, mutant, *which)) for which in TRIALS)
    ]
    assert mutants.words
    assert not missed
