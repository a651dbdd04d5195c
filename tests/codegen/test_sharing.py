"""A program computes nothing twice, and masks a cotangent rather than what it meets."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch

from codegen.lowering.sharing import computed_once
from codegen.pipeline import compile, source
from derive import Eq, Max, Maximum, Mean, Sum, Where, define, exp, log, sin, sqrt
from derive.language.definition import Let
from gradsmith.proof.check import check
from gradsmith.timing.launches import launches


def backward(module: ModuleType) -> str:
    return inspect.getsource(module.backward)


def test_what_two_gradients_need_is_computed_once() -> None:
    op = define("wave", "The sine of a product.")
    n = op.axes("n")
    x, y = op.input("x", n), op.input("y", n)
    module = compile(op.build(op.let("z", [n], sin(x[n] * y[n]))))
    assert backward(module).count("torch.cos(") == 1


def test_a_sum_is_by_the_letters_that_fewer_factors_have_first() -> None:
    op = define("both", "Two sums of a product, of which one is a part of the other.")
    i, j, f = op.axes("i j f")
    a, b, h = op.input("a", i, j), op.input("b", i, j), op.input("h", i, f)
    weighed = op.let("weighed", [f], Sum(a[i, j] * b[i, j] * h[i, f], i, j))
    y = op.let("y", [i, f], h[i, f] * Sum(a[i, j] * b[i, j], j) + weighed[f])
    text = source(op.build(y))
    assert "a_dot_b = (a * b).sum(1)" in text
    assert "weighed = a_dot_b @ h" in text


def test_a_product_that_no_tensor_has_the_letters_of_lies_as_what_it_is_for() -> None:
    op = define("decayed", "A state that decays by rates of its own.")
    n, d, s = op.axes("n d s")
    h, a, t = op.input("h", n, d, s), op.input("a", d, s), op.input("t", n, d)
    kept = op.let("kept", [n, d, s], exp(-t[n, d] * a[d, s]) * h[n, d, s])
    text = source(op.build(op.let("y", [n, d, s], kept[n, d, s] + t[n, d] * a[d, s])))
    assert "a_times_t = a * t[:, :, None]" in text
    assert "permute" not in text and ".T" not in text


def test_what_is_looked_up_for_two_gradients_is_looked_up_once() -> None:
    op = define("picked", "A power of the logit at an index.")
    n, k = op.axes("n k")
    x, y, t = op.input("x", n, k), op.input("y", n), op.integers("t", n)
    module = compile(op.build(op.let("z", [n], x[n, t[n]] ** 2 * sin(y[n] * x[n, t[n]]))))
    both = inspect.getsource(module.forward) + backward(module)
    assert both.count(".gather(") == 1


def test_no_name_is_only_another_one() -> None:
    for file in sorted((Path(__file__).parents[2] / "generated").glob("*.py")):
        text = file.read_text()
        functions = re.split(r"^(?=def |class )", text, flags=re.M)
        for function in functions:
            if re.match(r"def (forward|\w*backward|value_and_grad)", function):
                assert not re.search(r"^    \w+ = [a-z]\w*$", function, re.M), file.name


def test_no_forward_pass_changes_an_output_in_place() -> None:
    """Compilers before torch 2.13 take such an output for a constant, whose gradient is zero."""
    for file in sorted((Path(__file__).parents[2] / "generated").glob("*.py")):
        for function in re.split(r"^(?=def |class )", file.read_text(), flags=re.M):
            returned = re.search(r"^    return (.*), \w*Residuals\(", function, re.M)
            if function.startswith("def forward") and returned:
                for name in returned[1].split(", "):
                    changed = rf"^    {name}(?: [-+*/]=|\.\w+_\()"
                    assert not re.search(changed, function, re.M), (file.name, name)


def test_a_gradient_that_is_not_wanted_is_in_no_second_order() -> None:
    module = import_module("generated.cross_entropy")
    for function in (module.double_backward_weight, module.residuals_backward_weight):
        assert "grad_weight" not in inspect.getsource(function)


def test_a_mask_goes_onto_the_cotangent_where_several_gradients_read_it() -> None:
    op = define("ranked", "How far a product falls short of one.")
    n = op.axes("n")
    x, y = op.input("x", n), op.input("y", n)
    module = compile(op.build(op.let("z", [n], Max(1 - x[n] * y[n], 0))))
    assert backward(module).count("masked_fill") == 1


def test_one_sign_serves_two_gradients() -> None:
    op = define("apart", "How far two numbers are apart.")
    n = op.axes("n")
    x, y = op.input("x", n), op.input("y", n)
    module = compile(op.build(op.let("z", [n], abs(x[n] - y[n]))))
    _, residuals = module.forward(*torch.randn(2, 5))
    cotangent = torch.ones(5)
    found = launches(lambda: module.backward(cotangent, residuals))
    assert found.kernels == ("mul", "neg")


def values(lets: Iterable[Let]) -> dict[str, str]:
    return {let.name: str(let.value) for let in lets}


def test_a_sum_and_its_negative_are_one_sum() -> None:
    op = define("tangents", "What a hyperbolic tangent leaves, one way round and the other.")
    n = op.axes("n")
    h, a, b = op.input("h", n), op.input("a", n), op.input("b", n)
    y = op.let("y", [n], a[n] * (1 - h[n] ** 2))
    z = op.let("z", [n], b[n] * (h[n] ** 2 - 1))
    found = values(computed_once(op.build(y, z).lets))
    assert found["one_minus_h_squared"] == "1 - h[n]**2"
    assert found["y"] == "a[n]*one_minus_h_squared[n]"
    assert found["z"] == "-b[n]*one_minus_h_squared[n]"


def test_what_only_a_sign_stands_before_has_no_name() -> None:
    op = define("negated", "A sum, and a function, with a sign.")
    n = op.axes("n")
    x = op.input("x", n)
    y = op.let("y", [n], -sin(x[n]))
    lets = op.build(y, op.let("z", [], -Sum(x[n] * y[n], n))).lets
    assert computed_once(lets) == lets


def test_a_sign_that_every_reader_writes_is_in_the_name() -> None:
    op = define("turned", "A product that is always taken away.")
    n = op.axes("n")
    a, b = op.input("a", n), op.input("b", n)
    y, z = op.let("y", [n], exp(-a[n] * b[n])), op.let("z", [n], log(1 - a[n] * b[n]))
    found = values(computed_once(op.build(y, z).lets))
    assert found["neg_a_times_b"] == "-a[n]*b[n]"


def test_a_power_that_is_not_chosen_does_not_reach_the_second_derivative() -> None:
    op = define("norm", "The norm of a row.")
    n, k = op.axes("n k")
    x = op.input("x", n, k)
    total = Sum(x[n, k] ** 2, k)
    module = compile(op.build(op.let("y", [n], Where(Eq(total, 0), 0, sqrt(total)))))
    leaf = torch.zeros(2, 3, requires_grad=True)
    (first,) = torch.autograd.grad(module.norm(leaf).sum(), leaf, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), leaf)
    assert second.isfinite().all()


def test_a_root_that_is_not_chosen_is_not_named_for_the_second_derivative() -> None:
    op = define("spring", "The energy of springs between points, each pair once.")
    i, d = op.axes("i d")
    j = i.another("j")
    x, k, rest = op.input("x", i, d), op.input("k", i, j), op.input("rest", i, j)
    apart = sqrt(Sum((x[i, d] - x[j, d]) ** 2, d))
    energy = Sum(Where(i < j, k[i, j] * (apart - rest[i, j]) ** 2, 0), i, j)
    definition = op.build(op.let("e", [], energy), wrt=[x])
    assert all(row.passed for row in check(definition, compile(definition)))


def test_a_condition_that_is_kept_under_another_letter_is_a_condition_still() -> None:
    op = define("floored", "A probability, or the largest one, by rows of two tensors.")
    n, k, c = op.axes("n k c")
    x, a = op.input("x", n, k, c), op.input("a", n, k, c)
    cp = c.another("cp")
    p = op.let("p", [n, k, c], exp(a[n, k, c]) / Sum(exp(a[n, k, cp]), cp))
    low, high = p[2, 1, c] - n.size * x[2, 0, c], Maximum(p[2, 1, cp], cp)
    definition = op.build(op.let("q", [c], Where(x[2, 0, c] > a[1, 2, c], low, high)))
    assert all(row.passed for row in check(definition, compile(definition)))


def test_a_condition_on_letters_that_is_read_the_other_way_round_is_a_condition_still() -> None:
    op = define("credit", "A partial credit model: the score of a step adds those before it.")
    n, i, k = op.axes("n i k")
    skill, slope, step = op.input("skill", n), op.input("slope", i), op.input("step", i, k)
    y, m = op.integers("y", n, i), k.another("m")
    gains = Where(m <= k, slope[i] * (skill[n] - step[i, m]), 0)
    score = op.let("score", [n, i, k], Sum(gains, m))
    taken = log(Sum(exp(score[n, i, k]), k)) - score[n, i, y[n, i]]
    definition = op.build(op.let("loss", [], Mean(taken, n, i)))
    assert all(row.passed for row in check(definition, compile(definition)))


def test_a_softmax_that_is_repeated_along_an_axis_has_second_derivatives() -> None:
    op = define("repeated", "A softmax of sixth powers, for every k the same.")
    n, k = op.axes("n k")
    x = op.input("x", n, k)
    p = op.let("p", [n], x[n, 2] ** 6)
    definition = op.build(op.let("s", [n, k], exp(p[n]) / Sum(exp(p[n]), n)))
    assert all(row.passed for row in check(definition, compile(definition)))
