"""What is undefined where it is not chosen: energies of pairs, by one over their distance."""

from __future__ import annotations

from pathlib import Path

import pytest

from codegen.pipeline import compile
from derive.derivation import derive
from derive.files import load_definitions
from derive.language.expressions import Sum, Where
from gradsmith.proof.check import check

DEFINITIONS = Path(__file__).parents[1] / "definitions"
PAIRS = load_definitions(DEFINITIONS / "pairs.grad")
EVERY = PAIRS | load_definitions(DEFINITIONS / "symmetric.grad")


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize("name", EVERY)
def test_an_energy_of_pairs_is_proven_to_the_third_derivative(
    name: str, target: str, c_compiler: None
) -> None:
    assert all(row.passed for row in check(EVERY[name], compile(EVERY[name], target)))


@pytest.mark.parametrize("name", PAIRS)
def test_a_squared_distance_in_a_choice_is_not_multiplied_out(name: str) -> None:
    choices = [c for let in derive(PAIRS[name]).backward.lets for c in let.value.atoms(Where)]
    assert choices
    assert not any(choice.has(Sum) for choice in choices)
