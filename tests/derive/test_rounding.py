"""A form that loses digits which the chain rule keeps is not taken."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from derive import library
from derive.calculus.trace import Derivation
from derive.derivation import derive
from derive.language.definition import Let
from derive.notation.reading import read
from derive.printing.text import text
from derive.verification.rounding import Rounding

DISTANCE = """
    inputs x[n,d]
    letters m over n
    options eps = 1e-8 (positive)
    loss = mean_{n,m}(sqrt(sum_d((x[n,d] - x[m,d])**2) + eps))
"""
DIVERGENCE = """
    inputs l[n], r[n]
    kl[n] = exp(r[n] - l[n]) - (r[n] - l[n]) - 1
    loss = mean_n(kl[n])
"""
MOMENTS = """
    inputs z[n,k], a[k]
    p[n,k] = exp(z[n,k]) / sum_k(exp(z[n,k]))
    m[n] = sum_k(p[n,k]*a[k])
    v[n] = sum_k(p[n,k]*(a[k] - m[n])**2)
    outputs m, v
"""
BOUNDED = """
    inputs x[n], y[n], c
    loss = mean_n(where((x[n] - y[n])**2 < c**2, (x[n] - y[n])**2/2, c*abs(x[n] - y[n])))
"""


def derived(definition: str) -> Derivation:
    (read_back,) = read(definition, library.load).values()
    return derive(read_back)


def gradient(definition: str, name: str) -> str:
    (let,) = (let for let in derived(definition).backward.lets if let.name == f"grad_{name}")
    return text(let.value)


def loses(derivation: Derivation, backward: Sequence[Let]) -> bool:
    return Rounding(derivation.definition)(derivation.forward, backward)


def test_differences_of_points_are_not_multiplied_out() -> None:
    assert gradient(DISTANCE, "x") == (
        "2*grad_loss*sum_m((x[n,d] - x[m,d])/norm_x_difference[n,m])/N**2"
    )


def test_a_term_is_not_got_back_from_a_sum_in_which_it_is_small() -> None:
    assert gradient(DIVERGENCE, "l") == "grad_loss*(1 - exp_r_minus_l[n])/N"


def test_what_does_not_multiply_out_still_uses_what_the_forward_pass_has() -> None:
    assert gradient(MOMENTS, "z") == "p[n,k]*(grad_p[n,k] - sum_k(grad_p[n,k]*p[n,k]))"
    assert gradient(MOMENTS, "p").startswith("grad_v[n]*(a[k] - m[n])**2 + ")


@pytest.mark.parametrize("by", ["x", "y", "c"])
def test_a_square_in_a_condition_stays_what_the_forward_pass_compares(by: str) -> None:
    assert "where(x_minus_y[n]**2 < c**2, " in gradient(BOUNDED, by)


def test_a_pass_that_multiplies_a_difference_out_loses_digits() -> None:
    derivation = derived(DISTANCE)
    (let,) = derivation.backward.lets
    assert not loses(derivation, [let])
    assert loses(derivation, [Let(let.tensor, let.value.expand())])


def test_one_cotangent_is_judged_with_those_that_arrive_at_hand() -> None:
    derivation = derive(library.load("makemore_mlp"))
    assert not any(loses(derivation, [let]) for let in derivation.backward.lets)


@pytest.mark.parametrize("name", ["batch_norm", "cross_entropy", "softmax", "layer_norm", "var"])
def test_the_librarys_forms_lose_nothing(name: str) -> None:
    derivation = derive(library.load(name))
    assert not loses(derivation, derivation.backward.lets)
