"""A name says what is computed."""

from __future__ import annotations

from derive import define
from derive.simplification.naming import word


def test_only_what_something_is_subtracted_from_is_centred() -> None:
    op = define("named", "A row for all, subtracted and added.")
    n, c = op.axes("n c")
    x, b = op.input("x", n, c), op.input("b", c)
    assert word(x[n, c] - b[c]) == "x_centred"
    assert word(x[n, c] + b[c]) == "x_shifted"
