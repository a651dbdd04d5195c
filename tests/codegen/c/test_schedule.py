"""Which loops compute a program: shown as `n(c(x_sum) mean)`, a loop over n with what is in it.

`c..` is a loop over tiles of c, and `@y` a product of matrices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from types import ModuleType

import pytest
import torch

from codegen.c.nests import Contraction, Loop, Node
from codegen.c.recompute import recomputing
from codegen.c.schedule import schedule
from codegen.lowering.lower import lower
from codegen.pipeline import compile, sources
from codegen.program import Module
from derive import Definition, Mean, Ne, Sum, Where, define, delta, exp, library, log, tanh
from derive.derivation import derive
from gradsmith.proof.check import check

CallsOf = Callable[[ModuleType], Counter[str]]


def shown(nodes: Sequence[Node]) -> str:
    return " ".join(map(_shown, nodes))


def _shown(node: Node) -> str:
    if isinstance(node, Loop):
        return f"{node.index}{'..' * node.tiled}({shown(node.body)})"
    if isinstance(node, Contraction):
        return f"@{node.statement.tensor.name}"
    return node.tensor.name


def explicit(definition: Definition) -> Module:
    return recomputing(lower(derive(definition)), definition)


def nests(definition: Definition) -> tuple[str, str]:
    """The loops of forward and of backward."""
    module = explicit(definition)
    return shown(schedule(module.forward).nests), shown(schedule(module.backward).nests)


def variant(name: str) -> Definition:
    definitions = library.load(name.split("[")[0]).variants
    return next(d for d in definitions if d.full_name == name)


@pytest.mark.parametrize(
    ("name", "forward", "backward"),
    [
        (
            "layer_norm",
            "n(c(x_sum) mean c(x_centred_squared_sum) rstd c(y))",
            "n(c(grad_x_hat_sum grad_x_hat_dot_x_hat grad_weight grad_bias) c(grad_x))",
        ),
        (
            "rms_norm",
            "n(c(x_squared_sum) rstd c(y))",
            "n(c(grad_x_hat_dot_x_hat grad_weight) c(grad_x))",
        ),
        (
            "batch_norm",
            "c..(n(c(x_sum)) c(mean) n(c(x_centred_squared_sum)) c(rstd) n(c(y)))",
            "c..(n(c(grad_weight grad_bias)) n(c(grad_x)))",
        ),
        ("softmax", "n(k(x_max) k(x_exp x_sum_exp) k(p))", "n(k(grad_p_dot_p) k(grad_x))"),
        (
            "cross_entropy",
            "n(k(logits_max) k(logits_sum_exp) logits_log_sum_exp logprobs_at_target_sum) loss",
            "n(k(p grad_logits))",
        ),
        ("linear", "@weight_dot_x n(m(y))", "@grad_x @grad_weight n(m(grad_bias))"),
        ("embedding", "n(t(d(y)))", "n(t(d(grad_weight)))"),
        ("vector_norm[ord_inf]", "n(k(y_argmax) x_at_y_argmax y)", "n(k(grad_x))"),
        ("mse_loss", "n(x_minus_target_squared_sum) loss", "n(grad_x grad_target)"),
        (  # grad_loss_scaled is there before the loop that reads it
            "binary_cross_entropy_with_logits",
            "n(target_terms_sum) loss",
            "grad_loss_scaled n(s grad_x grad_target)",
        ),
    ],
)
def test_an_operation_takes_as_few_passes_as_its_data_allow(
    name: str, forward: str, backward: str
) -> None:
    assert nests(variant(name)) == (forward, backward)


def test_a_loss_and_its_gradient_share_the_passes_of_both() -> None:
    joint = explicit(variant("cross_entropy")).value_and_grad
    assert joint is not None
    assert shown(schedule(joint).nests) == (
        "n(k(logits_max) k(logits_sum_exp) logits_log_sum_exp logprobs_at_target_sum"
        " k(p grad_logits)) loss"
    )


def attention() -> Definition:
    op = define("attention", "Weighted means of values.")
    i, j, d = op.axes("i j d")
    q, k, v = op.input("q", i, d), op.input("k", j, d), op.input("v", j, d)
    s = op.let("s", [i, j], Sum(q[i, d] * k[j, d], d))
    p = op.let("p", [i, j], exp(s[i, j]) / Sum(exp(s[i, j]), j))
    return op.build(op.let("y", [i, d], Sum(p[i, j] * v[j, d], j)))


def info_nce(
    letters: str = "i d", name: Callable[[str], str] = str, second: str = "j"
) -> Definition:
    op = define(name("info_nce"), "Contrastive loss of pairs.")
    i, d = op.axes(letters)
    j = i.another(second)
    u, v = op.input(name("u"), i, d), op.input(name("v"), i, d)
    scores = op.let(name("scores"), [i, j], Sum(u[i, d] * v[j, d], d))
    p = op.let(name("p"), [i, j], exp(scores[i, j]) / Sum(exp(scores[i, j]), j))
    return op.build(op.let(name("loss"), [], -Mean(log(p[i, i]), i)))


def test_products_of_matrices_stand_alone_and_what_is_between_them_is_one_pass() -> None:
    forward, backward = nests(attention())
    assert forward == "@s i(j(s_max) j(s_exp s_sum_exp) j(p)) @y"
    assert backward == "@grad_p i(j(grad_p_dot_p) j(grad_s)) @grad_q @grad_k @grad_v"


def test_a_chain_of_matrices_is_one_product_after_another() -> None:
    op = define("chain", "Three matrices.")
    i, j, k, m = op.axes("i j k m")
    a, b, c = op.input("a", i, j), op.input("b", j, k), op.input("c", k, m)
    y = op.build(op.let("y", [i, m], Sum(a[i, j] * b[j, k] * c[k, m], j, k)))
    forward, backward = nests(y)
    assert forward == "@a_dot_b @y"
    assert backward == "@b_dot_c @grad_a @grad_y_dot_a @grad_b @grad_c"


def test_a_contrastive_loss_is_one_pass_over_its_scores() -> None:
    forward, backward = nests(info_nce())
    assert forward == (
        "@scores i(j(scores_max) scores_shift j(scores_exp scores_sum_exp scores_sum_exp_1) j(p)"
        " scores_minus_logsumexp_scores_sum) loss"
    )
    assert backward == "i(j(grad_scores)) @grad_u @grad_v"


def test_a_number_that_is_waited_for_parts_no_loop() -> None:
    op = define("scaled", "A step function of each element, by what the weights come to.")
    n, k = op.axes("n k")
    x, w = op.input("x", n), op.input("w", k)
    step = op.let("step", [n], tanh(x[n]))
    total = op.let("total", [], Sum(w[k], k))
    y = op.build(op.let("y", [n], step[n] * total))
    assert nests(y)[0] == "k(total) n(step y)"


def test_a_choice_with_another_in_a_branch_is_a_vector() -> None:
    op = define("clamped", "Each element between two bounds, made of logarithms.")
    n = op.axes("n")
    x = op.input("x", n, positive=True)
    low = Where(log(x[n]) < -3, -3, log(x[n]))
    y = op.build(op.let("y", [n], Where(x[n] > 9, 9, low)))
    text = sources([y], target="c")["clamped.c"]
    assert "choose(x[n] > 9, 9, log_x < -3 ? -3 : log_x)" in text


def test_names_and_letters_decide_nothing() -> None:
    plain, other = nests(info_nce()), nests(info_nce("a b", lambda name: f"my_{name}", "c"))
    renamed = tuple(
        text.replace("my_", "").replace("a(", "i(").replace("b(", "d(").replace("c(", "j(")
        for text in other
    )
    assert renamed == plain


def differences() -> Definition:
    op = define("differences", "How far each is from all, and its own.")
    n = op.axes("n")
    m = n.another("m")
    x = op.input("x", n)
    own = op.let("own", [m], tanh(x[m]))
    far = op.let("far", [n], Sum(tanh(x[n] - x[m]), m))
    return op.build(op.let("y", [n], far[n] * own[n]))


def centred() -> Definition:
    op = define("centred", "Each less the mean of all, and its share of the whole.")
    n = op.axes("n")
    m = n.another("m")
    x = op.input("x", n)
    mean = op.let("mean", [], Mean(x[m], m))
    off = op.let("off", [n], tanh(x[n] - mean[()]))
    return op.build(op.let("y", [n], off[n] * Sum(off[m], m)))


def test_two_letters_over_one_axis_share_a_loop_where_they_may() -> None:
    assert nests(differences())[0] == "m(own n_1(tanh_x_difference tanh_x_difference_sum) far y)"


def test_what_a_turn_needs_of_all_others_is_complete_before_its_loop() -> None:
    assert nests(centred())[0] == "m(x_sum) mean n(off off_sum) n(y)"


@pytest.mark.parametrize("definition", [attention(), differences(), centred()])
def test_loops_that_are_shared_compute_what_the_definition_says(
    definition: Definition, calls_of: CallsOf
) -> None:
    module = compile(definition, "c")
    calls = calls_of(module)
    assert all(row.passed for row in check(definition, module))
    assert calls["forward"] and calls["backward"]


def placed() -> Definition:
    op = define("placed", "Sums by label, of each row.")
    n, t, v, d = op.axes("n t v d")
    w, label, z = op.input("w", n, t, d), op.integers("label", n, t), op.input("z", v)
    sums = op.let("sums", [n, v, d], Sum(w[n, t, d] * delta(v, label[n, t]), t))
    return op.build(op.let("y", [n, v, d], z[v] * sums[n, v, d]))


def test_a_sum_that_puts_values_in_their_places_runs_over_them_once(c_compiler: None) -> None:
    definition = placed()
    assert nests(definition) == ("n(d..(t(d(sums)) v(d(y))))", "n(t(d(grad_w)) v(d(grad_z)))")
    module = compile(definition, "c")
    w, label = torch.randn(3, 5, 4), torch.randint(0, 6, (3, 5))
    z = torch.randn(6)
    with pytest.raises(IndexError, match=r"label must hold integers in \[0, 6\), got -"):
        module.forward(w, label - 6, z)
    y, _ = module.forward(w, label, z)
    expected = torch.zeros(3, 6, 4).scatter_add_(1, label[:, :, None].expand(3, 5, 4), w)
    assert torch.allclose(y, z[:, None] * expected, atol=1e-6)


def picked() -> Definition:
    op = define("picked", "A sum of squares, less what one element is worth.")
    n = op.axes("n")
    x, w, t = op.input("x", n), op.input("w"), op.integers("t")
    return op.build(op.let("s", [], w * Sum(x[n] ** 2 - w * x[n] * delta(n, t), n)), wrt=[x, w])


def test_what_a_delta_changes_is_changed_once_in_a_loop_that_is_shared(c_compiler: None) -> None:
    module = compile(picked(), "c")
    x, w = torch.randn(3 * 4096 + 5), torch.tensor(1.5)
    for place in (0, 4096, 9000, len(x) - 1):
        t = torch.tensor(place)
        _, gradients = module.value_and_grad(x, w, t)
        expected = 2 * w * x
        expected[place] -= w**2
        torch.testing.assert_close(gradients.grad_x, expected)


def test_two_loops_over_tiles_of_one_axis_have_one_width(c_compiler: None) -> None:
    op = define("ranked", "Smooth ranks, and what they weigh.")
    n, k = op.axes("n k")
    j = k.another("j")
    s, g = op.input("s", n, k), op.input("g", n, k)
    above = Where(Ne(j, k), 1 / (1 + exp(s[n, k] - s[n, j])), 0)
    rank = op.let("rank", [n, k], 1 + Sum(above, j))
    gains = op.let("gains", [n], Sum(g[n, k] / log(1 + rank[n, k]), k))
    definition = op.build(op.let("loss", [], Mean(gains[n], n)), wrt=[s])
    module = compile(definition, target="c")
    given = torch.randn(4, 6), torch.randn(4, 6)
    loss, gradients = module.value_and_grad(*given)
    expected, wanted = compile(definition).value_and_grad(*given)
    torch.testing.assert_close((loss, gradients), (expected, wanted))
