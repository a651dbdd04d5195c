"""How wide formulas are, and where those that are too wide are broken."""

from __future__ import annotations

import pytest
from sympy import Expr

from derive import Axis, Index, Sum, Tensor, Where, exp, library
from derive.derivation import derive
from derive.printing.arrange import Arrangement
from derive.printing.latex import latex
from derive.printing.mathml import mathml
from derive.printing.measure import fitted, rows_of, width

n, c = (Index(name, Axis(name)) for name in "nc")
scores, weight, shift = (Tensor(name, (n, c)) for name in ("scores", "weight", "shift"))
S, W, B = scores[n, c], weight[n, c], shift[n, c]
PLAIN = Arrangement()


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        (S, S * W),
        (S + W, S + W + B),
        (S / W, S + W),
        (S**2, exp(S)),
        (S, Where(S > 0, S, W)),
        (Tensor("alpha")[()], Tensor("alphas")[()]),
        (Tensor("x_hat", (n,))[n], Tensor("x_hut", (n,))[n]),
        (Sum(S, n), Sum(S * W, n)),
    ],
)
def test_what_takes_more_room_is_wider(narrow: Expr, wide: Expr) -> None:
    assert width(narrow, PLAIN) < width(wide, PLAIN)


def test_what_fits_is_not_broken() -> None:
    assert fitted(W * (S + B), PLAIN, 40) == PLAIN


def test_a_sum_in_brackets_goes_on_in_rows_of_like_width() -> None:
    total = S + W + B + S / W
    found = fitted(exp(B) * total, PLAIN, 42)
    assert [len(row) for row in rows_of(total, found)] == [2, 2]
    assert width(exp(B) * total, found) <= 42 < width(exp(B) * total, PLAIN)
    assert r"\left(\begin{aligned} & " in latex(exp(B) * total, found)
    assert mathml(exp(B) * total, found).count("<mtr>") == 2


def test_a_product_that_no_sum_makes_fit_goes_on_with_its_last_factor() -> None:
    product = exp(S + 1) * exp(W + 2) * exp(B + 3)
    found = fitted(product, PLAIN, 36)
    assert dict(found.rows) == {product: 2}
    assert latex(product, found).count(r"\times") == 1


@pytest.mark.parametrize("name", ["triplet_margin_loss", "makemore_mlp", "cosine_similarity"])
def test_a_broken_formula_is_the_same_formula(name: str) -> None:
    for let in derive(library.load(name)).backward.lets:
        whole, broken = (mathml(let.value, fitted(let.value, PLAIN, m)) for m in (1000, 30))
        assert broken.count("<mi>") == whole.count("<mi>")
