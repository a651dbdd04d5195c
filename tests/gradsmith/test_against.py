"""`check --against`: a hand-written backward is judged, and its mistake named."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from gradsmith.cli import main

SUMS = "    gw, gb = (grad_y * x_hat).sum(0), grad_y.sum(0)\n    n = len(x_hat)\n"


def judge(folder: Path, op: str, body: str, *arguments: str) -> tuple[int, str]:
    path = folder / "mine.py"
    path.write_text(f"import torch\n\n\n{body}", encoding="utf-8")
    command = ["check", op, "--against", f"{path}:mine", *arguments]
    result = CliRunner().invoke(main, command)
    return result.exit_code, result.output


def batch_norm(grad_x: str, taken: str = "") -> str:
    return f"def mine(grad_y, x_hat, weight, rstd{taken}):\n{SUMS}    return {grad_x}, gw, gb\n"


def test_a_right_backward_agrees(tmp_path: Path) -> None:
    right = batch_norm("weight * rstd * (grad_y - gb / n - x_hat * gw / n)")
    code, shown = judge(tmp_path, "batch_norm", right)
    assert code == 0
    assert [line.split() for line in shown.splitlines()] == [
        [name, "|", "agrees"] for name in ("grad_x", "grad_weight", "grad_bias")
    ]


@pytest.mark.parametrize(
    ("grad_x", "mistake"),
    [
        ("weight * rstd * (grad_y - x_hat * gw / n)", "grad_bias[c]*weight[c]*rstd[c]/N of grad_x"),
        ("weight * rstd * (grad_y - 2 * gb / n - x_hat * gw / n)", "is doubled"),
        ("weight * rstd * (grad_y + gb / n - x_hat * gw / n)", "is negated"),
        ("weight * rstd * (grad_y - gb / n - x_hat * gw / (n - 1))", "multiplied by N/(N - 1)"),
        ("weight * rstd * grad_y", "are dropped"),
        ("-weight * rstd * (grad_y - gb / n - x_hat * gw / n)", "the whole of grad_x is negated"),
    ],
)
def test_a_slip_is_named_with_its_term(tmp_path: Path, grad_x: str, mistake: str) -> None:
    code, shown = judge(tmp_path, "batch_norm", batch_norm(grad_x))
    assert code == 1
    assert "grad_x          | wrong: off by up to" in shown
    assert mistake in shown
    assert shown.count("agrees") == 2


def test_a_loss_that_forgets_its_reduction_is_off_by_the_batch(tmp_path: Path) -> None:
    body = "def mine(grad_output, logits, target):\n    p = logits.softmax(1)\n"
    body += "    p[range(len(p)), target] -= 1\n    return grad_output * p\n"
    code, shown = judge(tmp_path, "cross_entropy", body)
    assert code == 1
    assert "the whole of grad_logits is multiplied by N" in shown


def test_a_mistake_that_no_single_slip_explains_is_still_measured(tmp_path: Path) -> None:
    code, shown = judge(tmp_path, "tanh", "def mine(grad_h, x):\n    return grad_h * x.exp()\n")
    assert code == 1
    assert "wrong: off by up to" in shown and len(shown.splitlines()) == 1


def test_an_option_that_the_function_takes_varies_and_another_can_be_held(tmp_path: Path) -> None:
    general = "weight * rstd * (grad_y - gb / n - x_hat * gw / (n - correction))"
    assert judge(tmp_path, "batch_norm", batch_norm(general, ", correction"))[0] == 0
    unbiased = batch_norm("weight * rstd * (grad_y - gb / n - x_hat * gw / (n - 1))")
    assert judge(tmp_path, "batch_norm", unbiased)[0] == 1
    assert judge(tmp_path, "batch_norm", unbiased, "--option", "correction=1")[0] == 0


@pytest.mark.parametrize("held", ["eps=-1", "correction=-1"])
def test_an_option_is_not_held_where_it_may_not_be(tmp_path: Path, held: str) -> None:
    code, shown = judge(tmp_path, "batch_norm", "def mine(x):\n    return x\n", "--option", held)
    assert code == 2
    assert f"--option {held}: it is a number" in shown


def test_residuals_are_the_emitted_ones(tmp_path: Path) -> None:
    body = "def mine(grad_p, residuals):\n    p = residuals.p\n"
    body += "    return {'grad_x': p * (grad_p - (grad_p * p).sum(1, keepdim=True))}\n"
    assert judge(tmp_path, "softmax", body)[0] == 0


@pytest.mark.parametrize(
    "answer",
    [
        "(None, grad_y.T @ x, None)",
        "{'weight': grad_y.T @ x}",
        "namedtuple('G', 'grad_weight')(grad_y.T @ x)",
    ],
)
def test_gradients_may_be_left_out_and_named(tmp_path: Path, answer: str) -> None:
    body = f"from collections import namedtuple\ndef mine(grad_y, x):\n    return {answer}\n"
    code, shown = judge(tmp_path, "linear", body)
    assert code == 0
    assert shown.count("not returned") == 2 and shown.count("agrees") == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def mine(walrus):\n    return walrus\n", "nothing to pass for the parameter 'walrus'"),
        ("def mine(x):\n    return {'y': x}\n", "the function returns y"),
        ("def mine(x):\n    return 'no'\n", "the function returns a str"),
        ("def yours(x):\n    return x\n", "has no function 'mine'"),
    ],
)
def test_a_function_that_cannot_be_judged_is_wrong_usage(
    tmp_path: Path, body: str, message: str
) -> None:
    code, shown = judge(tmp_path, "tanh", body)
    assert code == 2
    assert message in shown


def test_a_wrong_shape_is_said_in_shapes(tmp_path: Path) -> None:
    code, shown = judge(tmp_path, "tanh", "def mine(x):\n    return x[0]\n")
    assert code == 1
    assert "shape [4], x has [3, 4]" in shown


def test_a_function_that_raises_has_failed(tmp_path: Path) -> None:
    code, shown = judge(tmp_path, "tanh", "def mine(x):\n    return 1 / 0\n")
    assert code == 1
    assert "the function raises ZeroDivisionError: division by zero" in shown


def test_a_count_of_the_whole_batch_for_one_less_is_named(tmp_path: Path) -> None:
    grad_x = "weight * rstd * (grad_y - gb / n - x_hat * gw / len(grad_y))"
    code, shown = judge(tmp_path, "batch_norm", batch_norm(grad_x, ", correction"))
    assert code == 1
    assert "grad_x has N where N - correction is wanted" in shown


def test_a_cotangent_that_is_forgotten_is_named(tmp_path: Path) -> None:
    body = "def mine(logits, target):\n    p = logits.softmax(1)\n"
    body += "    p[range(len(p)), target] -= 1\n    return p / len(p)\n"
    code, shown = judge(tmp_path, "cross_entropy", body)
    assert code == 1
    assert "grad_loss is forgotten, as if it were 1" in shown


def test_an_answer_that_is_not_finite_is_said_so(tmp_path: Path) -> None:
    code, shown = judge(tmp_path, "tanh", "def mine(grad_h, x):\n    return x * float('nan')\n")
    assert code == 1
    assert "12 of 12 elements not finite" in shown


def test_an_argument_that_is_written_to_is_named(tmp_path: Path) -> None:
    body = "def mine(grad_h, h):\n    return grad_h.mul_(1 - h**2)\n"
    code, shown = judge(tmp_path, "tanh", body)
    assert code == 1
    assert "grad_h          | written to" in shown
    assert "grad_x          | agrees" in shown
