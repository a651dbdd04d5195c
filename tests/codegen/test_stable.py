"""Safe forms are found from the laws of exponentials, however the expression is written."""

from typing import Any

import pytest

from codegen.lowering.forms import (
    Expm1,
    Log1p,
    LogAddExp,
    LogSoftmax,
    LogSumExp,
    Sigmoid,
    Softmax,
    spelled_out,
)
from codegen.lowering.hazards import bare_exponentials
from codegen.lowering.stable_expressions import stabilise
from derive import Sum, define, exp, log, tanh

op = define("words", "Letters and tensors to write expressions with.")
n, k = op.axes("n k")
other = k.another("other")
z, v, x, target = op.input("z", n, k), op.input("v", n, k), op.input("x", n), op.integers("t", n)
total, same = Sum(exp(z[n, k]), k), Sum(exp(z[n, other]), other)
safe = LogSumExp(z[n, k], k)

FORMS: dict[str, tuple[Any, Any]] = {
    "logsumexp": (log(total), safe),
    "its mean": (log(total / k.size), log(1 / k.size) + safe),
    "softmax": (exp(z[n, k]) / total, Softmax(z[n, k], k)),
    "softmax, another letter": (exp(z[n, k]) / same, Softmax(z[n, k], k)),
    "at a temperature": (exp(z[n, k] / 2) / Sum(exp(z[n, k] / 2), k), Softmax(z[n, k] / 2, k)),
    "one softmax": (exp(z[n, target[n]]) / total, exp(z[n, target[n]] - safe)),
    "log softmax": (z[n, k] - log(total), LogSoftmax(z[n, k], k)),
    "log of softmax": (log(exp(z[n, k]) / total), LogSoftmax(z[n, k], k)),
    "negative log softmax": (log(same) - z[n, k], -LogSoftmax(z[n, k], k)),
    "weighted": (
        Sum(exp(z[n, k]) * v[n, k], k) / total,
        Sum(v[n, k] * Softmax(z[n, k], k), k),
    ),
    "sigmoid": (1 / (1 + exp(-x[n])), Sigmoid(x[n])),
    "sigmoid the other way": (exp(x[n]) / (1 + exp(x[n])), Sigmoid(x[n])),
    "what a sigmoid leaves of one": (1 - 1 / (1 + exp(-x[n])), Sigmoid(-x[n])),
    "its logarithm": (log(1 - 1 / (1 + exp(-x[n]))), -LogAddExp(x[n], 0)),
    "its derivative": (exp(-x[n]) / (1 + exp(-x[n])) ** 2, Sigmoid(x[n]) * Sigmoid(-x[n])),
    "softplus": (log(1 + exp(x[n])), LogAddExp(x[n], 0)),
    "log sigmoid": (log(1 / (1 + exp(-x[n]))), -LogAddExp(-x[n], 0)),
    "mish": (tanh(log(1 + exp(x[n]))), tanh(LogAddExp(x[n], 0))),
    "what a sigmoid leaves of a sum": (
        log(exp(z[n, k]) - exp(z[n, k]) / (1 + exp(-x[n]))),
        z[n, k] - LogAddExp(x[n], 0),
    ),
    "a sum of sigmoids": (
        log(1 / (1 + exp(-x[n])) + exp(z[n, k])),
        LogAddExp(-LogAddExp(-x[n], 0), z[n, k]),
    ),
    "near one": (log(1 + x[n] ** 2), Log1p(x[n] ** 2)),
    "near zero": (exp(x[n]) - 1, Expm1(x[n])),
}


@pytest.mark.parametrize(("written", "wanted"), FORMS.values(), ids=list(FORMS))
def test_a_form_is_found(written: Any, wanted: Any) -> None:
    assert stabilise(written) == wanted


@pytest.mark.parametrize("wanted", [wanted for _, wanted in FORMS.values()], ids=list(FORMS))
def test_a_form_that_is_spelled_out_is_found_again(wanted: Any) -> None:
    spelled = spelled_out(wanted)
    assert not spelled.has(LogSumExp, Softmax, LogSoftmax, LogAddExp, Sigmoid, Log1p, Expm1)
    assert stabilise(spelled) == wanted


def test_an_exponential_that_is_asked_for_stays() -> None:
    assert stabilise(exp(x[n]) * x[n]) == exp(x[n]) * x[n]
    assert bare_exponentials(stabilise(exp(x[n]) * x[n])) == 1
    assert bare_exponentials(stabilise(exp(z[n, k]) / total)) == 0
