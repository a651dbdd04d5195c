"""A backward pass is a definition like any other, and so has a gradient of its own."""

import pytest

from derive import define, library
from derive.calculus.backward import Apart, backward_of
from derive.derivation import derive
from derive.language.definition import Definition
from derive.printing.text import arrangement_of, text


def gradient(definition: Definition, name: str) -> str:
    derivation = derive(definition)  # verified at random points, or it raises
    held = dict(derivation.backward.gradients)[name]
    value = next(let.value for let in derivation.backward.lets if let.tensor == held)
    return text(value, arrangement_of(derivation))


@pytest.mark.parametrize(
    ("op", "name", "form"),
    [
        ("tanh", "first_grad_h", "grad_first_grad_x[n,c]*(1 - h[n,c]**2)"),
        (
            "tanh",
            "x",
            "2*grad_first_grad_x[n,c]*first_grad_h[n,c]*h[n,c]*(h[n,c]**2 - 1)",
        ),
        (
            "mse_loss",
            "first_grad_loss",
            "2*sum_n(x_minus_target[n]*(grad_first_grad_x[n] - grad_first_grad_target[n]))/N",
        ),
    ],
)
def test_the_second_order_is_derived_in_textbook_form(op: str, name: str, form: str) -> None:
    assert gradient(backward_of(derive(library.load(op))), name) == form


def test_a_cotangent_makes_room_for_that_of_what_the_pass_is_given() -> None:
    backward = backward_of(derive(library.load("tanh")))
    assert [t.name for t in backward.inputs] == ["x", "first_grad_h"]
    assert backward.outputs == ("first_grad_x",)
    again = backward_of(derive(backward))
    names = [t.name for t in again.tensors.values()]
    assert len(set(names)) == len(names)
    assert not {f"grad_{name}" for name in names} & {*names}


def test_names_that_do_not_meet_stay() -> None:
    op = define("named", "Two tensors.")
    n = op.axes("n")
    x, y = op.input("x", n), op.input("y", n)
    assert not Apart.among([x, y]).of
