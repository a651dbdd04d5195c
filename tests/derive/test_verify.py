"""The verification: right derivations pass, and the mistakes that are really made are caught."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from sympy import Add, Expr, Symbol

from derive import Sum, define, library
from derive.calculus.differentiate import chain_rule
from derive.calculus.rules import SHARE
from derive.calculus.trace import Backward, Derivation, Step
from derive.derivation import derive
from derive.language.definition import Let, Tensor
from derive.language.expressions import Index
from derive.notation.reading import read
from derive.verification.arithmetic import Undefined
from derive.verification.verify import VerificationError, check_structure, verify

N = Index("n", next(a for a in library.load("batch_norm").axes if a.name == "n")).size


def derivation() -> Derivation:
    return derive(library.load("batch_norm"))


@pytest.mark.parametrize("name", ["batch_norm", "cross_entropy", "embedding", "mse_loss"])
def test_a_right_derivation_passes_at_three_points(name: str) -> None:
    found = derive(library.load(name))
    result = verify(found)
    assert result.steps == len(found.steps)
    assert result.points == 3
    assert result.largest_error < 1e-25


def test_the_same_derivation_is_verified_once() -> None:
    verify(derivation())
    before = verify.cache_info()
    verify(replace(derivation()))
    assert verify.cache_info().hits == before.hits + 1


# --- mistakes in the result, each made in the right gradient of x ---


def drop_a_term(expr: Expr) -> Expr:
    factors = [f for f in expr.args if isinstance(f, Add)]
    return expr.xreplace({factors[0]: Add(*factors[0].args[1:])})


def double_a_term(expr: Expr) -> Expr:
    factors = [f for f in expr.args if isinstance(f, Add)]
    return expr.xreplace({factors[0]: factors[0] + factors[0].args[0]})


def flip_a_sign(expr: Expr) -> Expr:
    factors = [f for f in expr.args if isinstance(f, Add)]
    return expr.xreplace({factors[0]: factors[0] - 2 * factors[0].args[-1]})


def n_minus_one_for_n(expr: Expr) -> Expr:
    return expr.xreplace({1 / N: 1 / (N - 1)})


def forget_the_correction(expr: Expr) -> Expr:
    (correction,) = (s for s in expr.atoms(Symbol) if s.name == "correction")
    return expr.xreplace({correction: Add()})


MUTATIONS = [drop_a_term, double_a_term, flip_a_sign, n_minus_one_for_n, forget_the_correction]


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__)
def test_a_wrong_simplified_gradient_is_caught(mutate: Callable[[Expr], Expr]) -> None:
    right = derivation()
    *others, last = right.simplified.lets
    wrong = Let(last.tensor, mutate(last.value))
    assert wrong.value != last.value
    simplified = replace(right.simplified, lets=(*others, wrong))
    with pytest.raises(VerificationError, match=f"gradient of '{last.name[5:]}'"):
        verify(replace(right, simplified=simplified, steps=()))


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__)
def test_a_step_that_changes_the_value_is_caught_with_its_rule_and_its_point(
    mutate: Callable[[Expr], Expr],
) -> None:
    right = derivation()
    *before, last = right.steps
    wrong = replace(last, after=mutate(last.after))
    assert wrong.after != last.after
    with pytest.raises(VerificationError) as caught:
        verify(replace(right, steps=(*before, wrong)))
    message = str(caught.value)
    assert f"rule {last.rule.name!r} changes {last.tensor!r}" in message
    assert "N=3" in message and "correction=" in message


def test_a_wrong_chain_rule_is_caught_by_finite_differences() -> None:
    right = derivation()
    lets = {let.name: let for let in right.chunked.lets}
    for name, let in lets.items():
        doubled = Let(let.tensor, 2 * let.value)
        chunked = replace(
            right.chunked, lets=tuple(doubled if n == name else o for n, o in lets.items())
        )
        wrong = Derivation(
            right.definition, right.definition.lets, right.seeds, chunked, chunked, ()
        )
        with pytest.raises(VerificationError, match="finite differences"):
            verify(wrong)


def test_the_gradient_that_finite_differences_contradict_is_named() -> None:
    seeds, chunked = chain_rule(library.load("linear"))
    lets = tuple(
        Let(let.tensor, -let.value if let.name == "grad_weight" else let.value)
        for let in chunked.lets
    )
    wrong = replace(chunked, lets=lets)
    definition = library.load("linear")
    with pytest.raises(VerificationError, match="gradient of 'weight' in 'linear'"):
        verify(Derivation(definition, definition.lets, seeds, wrong, wrong, ()))


APART = "inputs x[n,d]\nletters m over n\ny = mean_{n,m}(DISTANCE)"
DISTANCE = "sqrt(sum_d((x[n,d] - x[m,d])**2))"


def test_a_root_of_what_is_zero_somewhere_at_every_point_is_said_to_have_no_gradient() -> None:
    (apart,) = read(APART.replace("DISTANCE", DISTANCE), library.load).values()
    with pytest.raises(Undefined, match=r"no gradient: 'grad_.*': division by zero") as caught:
        derive(apart)
    assert "where(m != n, ..., 0)" in str(caught.value)
    others = f"where(m != n, {DISTANCE}, 0)"
    (apart,) = read(APART.replace("DISTANCE", others), library.load).values()
    assert verify(derive(apart)).points == 3


def test_what_cancels_beyond_sixty_digits_is_told_from_a_mistake() -> None:
    text = "lost: S.\na[n] = 1 + exp(-200 - x[n])\ny[n] = (a[n] - 1) * exp(200 + x[n])"
    (definition,) = read(text, library.load).values()
    assert [let.value for let in derive(definition).simplified.lets] == [0]


def test_a_forward_pass_that_computes_something_else_is_caught() -> None:
    right = derivation()
    lets = tuple(
        Let(let.tensor, let.value / 2 if let.name == "var" else let.value) for let in right.forward
    )
    with pytest.raises(VerificationError, match="forward pass changes 'var'"):
        verify(replace(right, forward=lets, steps=()))


def test_an_equation_that_does_not_hold_is_caught() -> None:
    right = derivation()
    position, step = next((i, s) for i, s in enumerate(right.steps) if s.using)
    (left, side), *_ = step.using
    wrong = replace(step, using=((left, side + 1),))
    steps = (*right.steps[:position], wrong, *right.steps[position + 1 :])
    with pytest.raises(VerificationError, match="uses what does not hold"):
        verify(replace(right, steps=steps))


def test_a_step_is_caught_that_divides_by_what_may_be_zero() -> None:
    op = define("rows", "The sum of squares of each row.")
    n, c = op.axes("n c")
    x = op.input("x", n, c)
    square = op.let("square", [n, c], x[n, c] ** 2)
    right = derive(op.build(op.let("y", [n], Sum(square[n, c], c))))
    gradient = dict(right.simplified.gradients)["x"]
    before = right.simplified.lets[-1].value
    almost = Step(SHARE, gradient, before, before * square[n, c] / x[n, c] ** 2)
    with pytest.raises(VerificationError, match="undefined afterwards"):
        verify(replace(right, steps=(almost,)))


# --- mistakes in the structure ---


def rebuilt(right: Derivation, *lets: Let) -> Derivation:
    return replace(right, simplified=replace(right.simplified, lets=lets), steps=())


def bound_twice(right: Derivation) -> Derivation:
    return rebuilt(right, right.simplified.lets[0], *right.simplified.lets)


def used_before_it_is_bound(right: Derivation) -> Derivation:
    return rebuilt(right, *reversed(right.simplified.lets))


def never_bound(right: Derivation) -> Derivation:
    return rebuilt(right, *(let for let in right.simplified.lets if let.name != "grad_x"))


def stray_letter(right: Derivation) -> Derivation:
    *others, last = right.simplified.lets
    return rebuilt(right, *others, Let(Tensor(last.name, last.tensor.dims[:1]), last.value))


def other_indices_than_the_primals(right: Derivation) -> Derivation:
    gradients = tuple(
        (name, replace(tensor, dims=tensor.dims[::-1]))
        for name, tensor in right.simplified.gradients
    )
    return replace(right, simplified=replace(right.simplified, gradients=gradients))


def gradient_left_out(right: Derivation) -> Derivation:
    return replace(
        right, simplified=Backward(right.simplified.lets, right.simplified.gradients[1:])
    )


def forward_let_lost(right: Derivation) -> Derivation:
    return replace(right, forward=right.forward[:-1])


STRUCTURE: dict[Callable[[Derivation], Derivation], str] = {
    bound_twice: "binds 'grad_weight' twice",
    used_before_it_is_bound: "before it is bound",
    never_bound: "never binds 'grad_x'",
    stray_letter: "depends on the index",
    other_indices_than_the_primals: "is the gradient of x",
    gradient_left_out: "does not give the gradients of x, weight, bias",
    forward_let_lost: "has lost 'y'",
}


@pytest.mark.parametrize("mistake", STRUCTURE, ids=lambda mistake: mistake.__name__)
def test_a_mistake_in_the_structure_is_caught_before_any_number(
    mistake: Callable[[Derivation], Derivation],
) -> None:
    with pytest.raises(VerificationError, match=STRUCTURE[mistake]):
        check_structure(mistake(derivation()))
