"""Where steps stand one behind another, what arrives between them has a name."""

from __future__ import annotations

from pathlib import Path

from derive.calculus.trace import Derivation
from derive.derivation import derive
from derive.files import load_definitions
from derive.notation.reading import read
from derive.printing.text import arrangement_of, text
from derive.simplification.work import work
from gradsmith.proof.check import check

DEFINITIONS = Path(__file__).parents[1] / "definitions"

BOTH_WAYS = """
options eps = 1e-5 (positive)
inputs x[n,c]
m[n]   = mean_c(x[n,c])
v[n]   = mean_c((x[n,c] - m[n])**2)
y[n,c] = (x[n,c] - m[n]) / sqrt(v[n] + eps)
m2[c]  = mean_n(y[n,c])
v2[c]  = mean_n((y[n,c] - m2[c])**2)
z[n,c] = (y[n,c] - m2[c]) / sqrt(v2[c] + eps)
"""
DESCENT = """
options lr = 0.1
inputs w[n], a[n], b[n]
letters m over n
w1[n] = w[n] - lr*(a[n]*w[n] - b[n]*sum_m(w[m]*b[m]))
w2[n] = w1[n] - lr*(a[n]*w1[n] - b[n]*sum_m(w1[m]*b[m]))
L     = sum_n(w2[n]**2)
"""
MEANS = """
inputs x[n,d], mu[k,d], lp[k]
e[n,k] = lp[k] - sum_d((x[n,d] - mu[k,d])**2)/2
r[n,k] = exp(e[n,k]) / sum_k(exp(e[n,k]))
c[k,d] = sum_n(r[n,k]*x[n,d]) / sum_n(r[n,k])
"""
NEWTON = """
inputs a[n], y[n]
r1[n] = (y[n] + a[n]/y[n]) / 2
r2[n] = (r1[n] + a[n]/r1[n]) / 2
r3[n] = (r2[n] + a[n]/r2[n]) / 2
"""
SINKHORN = """
options eps = 0.1 (positive)
inputs c[i,j]
k[i,j] = exp(-c[i,j]/eps)
a[i]   = 1 / sum_j(k[i,j])
b[j]   = 1 / sum_i(k[i,j]*a[i])
a2[i]  = 1 / sum_j(k[i,j]*b[j])
b2[j]  = 1 / sum_i(k[i,j]*a2[i])
L      = sum_{i,j}(a2[i]*k[i,j]*b2[j]*c[i,j])
"""


def derived(words: str) -> Derivation:
    (definition,) = read(words, {}.__getitem__).values()
    return derive(definition)


def gradients(words: str) -> dict[str, str]:
    derivation = derived(words)
    arrangement = arrangement_of(derivation)
    return {let.name: text(let.value, arrangement) for let in derivation.backward.lets}


def test_a_normalisation_of_a_normalisation_is_two_of_the_usual_gradients() -> None:
    assert gradients(BOTH_WAYS) == {
        "grad_y": "rstd_1[c]*(grad_z[n,c] - sum_n(grad_z[n,c])/N"
        " - z[n,c]*sum_n(grad_z[n,c]*z[n,c])/N)",
        "grad_x": "rstd[n]*(grad_y[n,c] - sum_c(grad_y[n,c])/C"
        " - y[n,c]*sum_c(grad_y[n,c]*y[n,c])/C)",
    }


def test_a_divergence_of_softmaxes_is_proven_to_two_orders() -> None:
    """Its second order has an exponential that another let is written in while it is simplified, so
    that what arrives at it is not what arrives in the chain rule, and has no name."""
    definition = load_definitions(DEFINITIONS / "cells.grad")["shannon"]
    assert all(row.passed for row in check(definition))


def test_of_two_steps_of_an_iteration_the_first_takes_what_the_second_sends() -> None:
    found = gradients(DESCENT)
    assert [*found] == ["grad_w2", "grad_w1", "grad_w", "grad_a", "grad_b"]
    step = "grad_w2[n]*(1 - lr*a[n]) + lr*b[n]*sum_n(grad_w2[n]*b[n])"
    assert found["grad_w1"] == step
    assert found["grad_w"] == step.replace("w2", "w1")


def test_what_arrives_at_a_let_that_reads_several_inputs_is_sent_to_each() -> None:
    found = gradients(MEANS)
    assert found["grad_mu"] == "sum_n(grad_e[n,k]*(x[n,d] - mu[k,d]))"
    assert found["grad_lp"] == "sum_n(grad_e[n,k])"


def test_what_would_be_longer_than_the_chain_rule_is_a_line_for_each_step() -> None:
    assert gradients(NEWTON) == {
        "grad_r2": "grad_r3[n]*(1 - r3[n]/r2[n])",
        "grad_r1": "grad_r2[n]*(1 - r2[n]/r1[n])",
        "grad_y": "grad_r1[n]*(1 - r1[n]/y[n])",
        "grad_a": "grad_r3[n]/(2*r2[n]) + grad_r2[n]/(2*r1[n]) + grad_r1[n]/(2*y[n])",
    }


def test_written_out_whole_it_would_be_more_work_than_the_chain_rule() -> None:
    derivation = derived(SINKHORN)
    found = gradients(SINKHORN)
    assert [*found] == ["grad_b2", "grad_a2", "grad_b", "grad_k", "grad_c"]
    assert found["grad_b"] == "-sum_i(grad_a2[i]*a2[i]**2*k[i,j])"
    chunked, simplified = (
        work(let.value for let in backward.lets)
        for backward in (derivation.chunked, derivation.backward)
    )
    assert simplified < chunked


CLIPPED = """
inputs x[n,k], old[n], a[n] (integer), adv[n]
gradients x
lp[n,k] = x[n,k] - log(sum_k(exp(x[n,k])))
ratio[n] = exp(lp[n,a[n]] - old[n])
ent[n] = -sum_k(exp(lp[n,k])*lp[n,k])
loss = mean_n(-min(ratio[n]*adv[n], min(max(ratio[n], 0.8), 1.2)*adv[n]) - 0.01*ent[n])
"""


def test_what_a_choice_sends_has_a_name_where_it_would_be_written_twice() -> None:
    lines = {let.name: text(let.value) for let in derived(CLIPPED).backward.lets}
    assert [*lines] == ["grad_ratio", "grad_x"]
    assert "where" not in lines["grad_x"]


COSINE = """
inputs q[t,d], k[u,d], v[u,e]
nq[t] = sqrt(sum_d(q[t,d]**2))
s[t,u] = sum_d(q[t,d]*k[u,d])/nq[t]
p[t,u] = exp(s[t,u])/sum_u(exp(s[t,u]))
y[t,e] = sum_u(p[t,u]*v[u,e])
"""


def test_scores_that_are_read_twice_have_a_gradient_of_their_own() -> None:
    found = gradients(COSINE)
    assert found["grad_s"] == "p[t,u]*(grad_p[t,u] - sum_u(grad_p[t,u]*p[t,u]))"
    assert "grad_p" not in found["grad_q"] + found["grad_k"]


SHANNON = """
inputs a[n,k], b[n,k]
p[n,k] = exp(a[n,k])/sum_k(exp(a[n,k]))
q[n,k] = exp(b[n,k])/sum_k(exp(b[n,k]))
m[n,k] = (p[n,k] + q[n,k])/2
loss = mean_n(sum_k(p[n,k]*log(p[n,k]/m[n,k]) + q[n,k]*log(q[n,k]/m[n,k])))/2
"""


def test_what_several_lets_send_to_a_softmax_has_a_name_where_that_is_shorter() -> None:
    found = gradients(SHANNON)
    assert found["grad_p"] == "grad_loss*log_inner[n,k]/(2*N)"
    assert found["grad_a"] == "p[n,k]*(grad_p[n,k] - sum_k(grad_p[n,k]*p[n,k]))"


MIXED = """
inputs a[n,k], b[n,k], g[n], y[n] (integer)
w[n] = 1/(1 + exp(-g[n]))
p[n,k] = exp(a[n,k])/sum_k(exp(a[n,k]))
q[n,k] = exp(b[n,k])/sum_k(exp(b[n,k]))
loss = -mean_n(log(w[n]*p[n,y[n]] + (1 - w[n])*q[n,y[n]]))
"""


def test_softmaxes_that_are_mixed_are_not_taken_apart_into_exponentials() -> None:
    assert {t.name for t in derived(MIXED).residuals()} == {"y", "w", "p", "q"}


PREFERRED = """
options beta = 0.1 (positive)
inputs pc[n], pr[n], rc[n], rr[n]
loss = mean_n((pc[n] - pr[n] - rc[n] + rr[n] - 1/(2*beta))**2)
"""


def test_a_multiple_of_what_is_squared_is_written_in_it() -> None:
    (residual,) = derived(PREFERRED).residuals()
    assert gradients(PREFERRED)["grad_pc"] == f"2*grad_loss*{residual.name}[n]/N"
