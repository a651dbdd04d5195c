"""`check`: emitted code is proven, and what is wrong with it is said."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from codegen import pipeline
from derive import Sum, define, exp, library, log
from derive.files import load_definitions
from derive.notation.reading import read
from gradsmith.cli import main
from gradsmith.emitted import emitted
from gradsmith.proof.check import check
from gradsmith.proof.proofs import backward_problems

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
DEFINITIONS = {
    name: definition
    for path in sorted((HERE.parent / "definitions").glob("*.py"))
    for name, definition in load_definitions(path).items()
}
QUICK = [name for name in library.names() if name != "makemore_mlp_chunked"]


def spoilt(name: str, old: str, new: str) -> ModuleType:
    """An emitted module with some of its text replaced."""
    source = inspect.getsource(emitted(library.load(name)))
    assert old in source
    module = ModuleType(name)
    exec(compile(source.replace(old, new), "<spoilt>", "exec"), vars(module))
    return module


def run(*arguments: str, code: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(main, ["check", *arguments])
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
def test_every_gradient_of_the_library_is_proven(name: str) -> None:
    for variant in library.load(name).variants:
        rows = check(variant)
        assert [row.input for row in rows] == list(variant.wrt)
        assert all(row.passed for row in rows), rows


@pytest.mark.parametrize("name", DEFINITIONS)
def test_an_operation_that_the_library_does_not_have_is_proven(name: str) -> None:
    rows = check(DEFINITIONS[name])
    assert all(row.passed for row in rows), [row for row in rows if not row.passed]


@pytest.mark.parametrize(
    "text",
    [
        "options p = 32 (positive)\ny[n] = k[n] * max(x[n], 0)**p",
        "options p = 4 (positive)\nh[n] = max(x[n] - 0.5, 0)\ny[n] = h[n]**p",
    ],
)
def test_a_power_is_proven_where_its_base_is_zero(text: str) -> None:
    (definition,) = read(f"power: S.\n{text}", library.load).values()
    rows = check(definition)
    assert all(row.passed for row in rows), rows


def test_json_is_a_list_with_the_documented_keys() -> None:
    rows = json.loads(run("batch_norm", "--json")[0])
    assert [row["input"] for row in rows if row["op"] == "batch_norm"] == ["x", "weight", "bias"]
    assert {row["op"] for row in rows} > {"batch_norm", "batch_norm[no_weight_no_bias]"}
    for row in rows:
        assert list(row) == ["op", "input", "gradcheck", "exact", "approximate", "maxdiff"]
        assert row["gradcheck"] and row["approximate"]


def test_a_table_row_reads_as_the_notebooks_does() -> None:
    shown, messages = run("tanh")
    assert "| exact: " in shown and "| approximate: True  | maxdiff: " in shown
    assert "1 of 1 gradients agree" in messages


def test_an_operation_that_is_named_twice_is_checked_once() -> None:
    assert "1 of 1 gradients agree" in run("tanh", "tanh")[1]


def test_a_wrong_forward_is_found_though_its_backward_is_right() -> None:
    (row,) = check(library.load("tanh"), spoilt("tanh", "torch.tanh(x)", "(torch.tanh(x) + 1e-6)"))
    assert not row.passed
    assert any(p.startswith("forward: h is off by") for p in row.problems)


def test_a_wrong_gradient_is_found_and_the_others_are_not_blamed() -> None:
    module = spoilt("batch_norm", "grad_bias = grad_y.sum(0)", "grad_bias = 1.0001 * grad_y.sum(0)")
    rows = {row.input: row for row in check(library.load("batch_norm"), module)}
    assert not rows["bias"].gradcheck
    assert rows["weight"].passed


def test_a_backward_that_writes_to_its_cotangent_is_found() -> None:
    module = spoilt("linear", "grad_bias = grad_y.sum(0)", "grad_bias = grad_y.sum(0); grad_y += 1")
    problems = [p for row in check(library.load("linear"), module) for p in row.problems]
    assert "backward writes to the cotangent it is given" in problems


def test_an_exception_is_a_failed_row() -> None:
    rows = check(library.load("linear"), spoilt("linear", "grad_y.sum(0)", "grad_y.walrus()"))
    assert len(rows) == 3 and not any(row.passed for row in rows)
    assert rows[0].maxdiff is None
    assert any("AttributeError" in p and "walrus" in p for p in rows[0].problems)


def test_float32_is_held_against_float64_where_plain_formulas_overflow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    op = define("steep", "The logarithm of a sum of exponentials of large numbers.")
    n, k = op.axes("n k")
    x = op.input("x", n, k)
    definition = op.build(op.let("y", [n], log(Sum(exp(80 * x[n, k]), k))))
    module = pipeline.compile(definition)
    (row,) = check(definition, module)
    assert row.passed and row.maxdiff and not row.exact
    right = module.backward

    def in_single_precision_wrong(grad_y: Tensor, residuals: object) -> object:
        (grad_x,) = right(grad_y, residuals)
        off = 1.01 if grad_x.dtype == torch.float32 else 1
        return module.Gradients(off * grad_x)

    monkeypatch.setattr(module, "backward", in_single_precision_wrong)
    (row,) = check(definition, module)
    assert row.gradcheck and not row.approximate
    assert any("float32" in problem for problem in row.problems)


def test_a_nan_never_agrees() -> None:
    nan = "grad_bias = grad_y.sum(0) * float('nan')"
    rows = check(library.load("linear"), spoilt("linear", "grad_bias = grad_y.sum(0)", nan))
    (bias,) = [row for row in rows if row.input == "bias"]
    assert not bias.approximate and not bias.gradcheck


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ([torch.inf, 5.0], "is off by 4"),
        ([3.0, 1.0], "is infinite or not a number in other places"),
    ],
)
def test_a_wrong_element_is_found_beside_an_infinite_one(found: list[float], told: str) -> None:
    trial: Any = SimpleNamespace(
        sample=None,
        emitted_gradients=lambda _: {"x": torch.tensor(found)},
        reference_gradients=lambda _: {"x": torch.tensor([torch.inf, 1.0])},
    )
    ((name, problem),) = backward_problems(trial)
    assert name == "x" and told in problem


def test_a_failure_exits_with_1_and_says_what_on_standard_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = spoilt("tanh", "torch.tanh(x)", "torch.sin(x)")
    monkeypatch.setattr("gradsmith.proof.check.emitted", lambda definition, target: wrong)
    shown, messages = run("tanh", "--json", code=1)
    assert json.loads(shown)[0]["gradcheck"] is False
    assert "tanh: forward: h is off by" in messages
    assert "0 of 1 gradients agree" in messages


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["walrus"], "no operation 'walrus'"),
        (["--definitions", "absent.py"], "there is no such file"),
        (["softmax", "tanh", "--against", "x.py:f"], "exactly one OP"),
        (["softmax", "--against", "nothing"], "FILE.py:FUNCTION"),
        (["softmax", "--option", "a=1"], "--option goes with --against"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], message: str) -> None:
    assert message in run(*arguments, code=2)[1]
