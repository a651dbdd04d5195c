"""What is read where integer tensors say, in both targets: pixels, edges of graphs, crops."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from codegen.pipeline import compile, source
from derive.files import load_definitions
from derive.notation.reading import read
from gradsmith.proof.check import check

pytestmark = pytest.mark.slow

FILES = (Path(__file__).parents[1] / "definitions" / f"{n}.grad" for n in ("positions", "labels"))
POSITIONS = {name: op for file in FILES for name, op in load_definitions(file).items()}


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).double().requires_grad_()


def sampled(im: Tensor, a: Tensor, b: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """PyTorch's own interpolation: its coordinates run from -1 to 1."""
    places = torch.stack(
        [2 * (column + b) / (im.shape[2] - 1) - 1, 2 * (row + a) / (im.shape[1] - 1) - 1], -1
    )
    return F.grid_sample(im[None], places[None, None], align_corners=True)[0, :, 0].T


def springs(r: Tensor, rest: Tensor, i: Tensor, j: Tensor) -> Tensor:
    return ((r[i] - r[j]).norm(dim=1) - rest).square().sum() / 2


def messages(x: Tensor, w: Tensor, i: Tensor, j: Tensor) -> Tensor:
    return x.new_zeros(len(x), len(w)).index_add(0, j, torch.tanh(x[i] @ w.T))


def crops(x: Tensor, w: Tensor, start: Tensor) -> Tensor:
    return x.unfold(0, len(w), 1)[start] @ w


def following(x: Tensor, at: Tensor) -> Tensor:
    return (x - F.pad(x[:, 1:], (0, 1)))[:, at].T


def before(x: Tensor, at: Tensor) -> Tensor:
    return F.pad(x[:, :-1], (1, 0))[:, at].T ** 2


def shifted(x: Tensor, by: Tensor) -> Tensor:
    places = torch.arange(x.shape[1]) + by[:, None]
    inside = (places >= 0) & (places < x.shape[1])
    return x.gather(1, places.clamp(0, x.shape[1] - 1)) * inside


def transitions(tr: Tensor, y: Tensor) -> Tensor:
    return tr[y[:-1], y[1:]].sum()


def attention(s: Tensor, v: Tensor, i: Tensor, j: Tensor, b: Tensor) -> Tensor:
    heard = [s[j == q].softmax(0) @ v[i[j == q]] for q in range(len(b))]
    return b[:, None] + torch.stack(heard)


def shares(s: Tensor, x: Tensor, label: Tensor) -> Tensor:
    y = torch.zeros_like(s)
    for q in range(len(x)):
        y = y.masked_scatter((label == q)[:, :, None], s[label == q].softmax(0) * x[q])
    return y


def pooled(x: Tensor, w: Tensor, label: Tensor) -> Tensor:
    return torch.stack([w[q] * x[label == q].logsumexp(0) for q in range(len(w))])


def prototypes(x: Tensor, w: Tensor, label: Tensor) -> Tensor:
    middle = torch.stack([x[label == q].mean(0) for q in range(len(w))])
    return (w[label][:, None] * (x - middle[label]) ** 2).sum()


ROWS, COLUMNS = torch.tensor([0, 2, 2, 1, 2]), torch.tensor([3, 0, 0, 1, 2])
PYTORCH: dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = {
    "nearest": (lambda im, row, column: im[:, row, column].T, (draw(2, 3, 4), ROWS, COLUMNS)),
    "sampled": (sampled, (draw(2, 4, 5), draw(5).sigmoid(), draw(5).cos() ** 2, ROWS, COLUMNS)),
    "springs": (springs, (draw(4, 3), draw(5), ROWS, COLUMNS + 1 - 2 * (COLUMNS == 3).long())),
    "messages": (messages, (draw(4, 3), draw(2, 3), ROWS, COLUMNS)),
    "crops": (crops, (draw(6), draw(4), ROWS)),
    "following": (following, (draw(2, 4), COLUMNS)),
    "before": (before, (draw(2, 4), COLUMNS)),
    "shifted": (shifted, (draw(5, 4), COLUMNS)),
    "attention": (attention, (draw(5), draw(3, 2), ROWS, COLUMNS, draw(4))),
    "shares": (shares, (draw(2, 4, 2), draw(3, 2), torch.tensor([[0, 0, 2, 1], [1, 2, 0, 1]]))),
    "pooled": (pooled, (draw(5, 2), draw(3), ROWS)),
    "prototypes": (prototypes, (draw(5, 2), draw(3), ROWS)),
    "transitions": (transitions, (draw(4, 4), COLUMNS)),
}
"""What PyTorch computes instead, and inputs; two of the positions are the same."""


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize("name", PYTORCH)
def test_values_and_two_orders_of_gradients_are_those_of_pytorch(
    name: str, target: str, c_compiler: None
) -> None:
    mine, (theirs, given) = getattr(compile(POSITIONS[name], target), name), PYTORCH[name]
    given = [t.detach().requires_grad_() if t.is_floating_point() else t for t in given]
    reals = [t for t in given if t.requires_grad]
    values = [function(*given) for function in (mine, theirs)]
    torch.testing.assert_close(*values)
    weights = draw(*values[0].shape).detach()
    firsts = [torch.autograd.grad(v**2, reals, weights, create_graph=True) for v in values]
    torch.testing.assert_close(*firsts)
    if name == "sampled":  # PyTorch has no second derivative of it
        return
    norms = [torch.stack([(g**2).sum() for g in first]).sum() for first in firsts]
    torch.testing.assert_close(*(torch.autograd.grad(norm, reals) for norm in norms))


@pytest.mark.parametrize("name", ["attention", "shares", "pooled", "prototypes"])
def test_what_meets_in_one_place_is_compared_with_nothing_else(name: str) -> None:
    text = source(POSITIONS[name])
    assert text.count(".index_add") >= 4
    assert "torch.where" not in text and "torch.logsumexp" not in text


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize("scale", [1e4, -1e4])
@pytest.mark.parametrize("name", ["attention", "shares"])
def test_exponentials_that_meet_in_one_place_do_not_overflow(
    name: str, scale: float, target: str, c_compiler: None
) -> None:
    mine, (theirs, given) = getattr(compile(POSITIONS[name], target), name), PYTORCH[name]
    s, *others = (t.detach().float() if t.is_floating_point() else t for t in given)
    s = (scale * s).requires_grad_()
    values = [function(s, *others) for function in (mine, theirs)]
    torch.testing.assert_close(*values)
    firsts = [torch.autograd.grad(y.square().sum(), s, create_graph=True)[0] for y in values]
    torch.testing.assert_close(*firsts)
    torch.testing.assert_close(*(torch.autograd.grad(f.square().sum(), s) for f in firsts))


@pytest.mark.parametrize("target", ["torch", "c"])
def test_the_logarithm_of_nothing_that_meets_in_one_place_is_minus_infinity(
    target: str, c_compiler: None
) -> None:
    pooled = compile(POSITIONS["pooled"], target).pooled
    x = torch.tensor([[1e3, -torch.inf], [1e3, -torch.inf], [torch.inf, 0.0]], requires_grad=True)
    y = pooled(x, torch.ones(4), torch.tensor([1, 1, 3]))
    expected = [[-torch.inf] * 2, [1e3 + math.log(2), -torch.inf], [-torch.inf] * 2, [torch.inf, 0]]
    torch.testing.assert_close(y, torch.tensor(expected))
    (slope,) = torch.autograd.grad(y[1, 0], x)
    torch.testing.assert_close(slope[:2, 0], torch.tensor([0.5, 0.5]), rtol=1e-4, atol=0)


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize("name", POSITIONS)
def test_they_are_proven_like_any_other(name: str, target: str, c_compiler: None) -> None:
    assert all(row.passed for row in check(POSITIONS[name], compile(POSITIONS[name], target)))


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize(
    ("name", "place", "first", "end"),
    [
        *[("nearest", 1, 0, 3), ("nearest", 2, 0, 4), ("sampled", 4, 0, 4), ("crops", 2, 0, 3)],
        *[("messages", 3, 0, 4), ("following", 1, 0, 4)],
    ],
)
def test_a_position_outside_of_its_axis_is_refused_by_name(
    name: str, place: int, first: int, end: int, target: str, c_compiler: None
) -> None:
    function, given = getattr(compile(POSITIONS[name], target), name), [*PYTORCH[name][1]]
    argument = [tensor.name for tensor in POSITIONS[name].inputs][place]
    for wrong in (first - 1, end):
        given[place] = torch.full((5,), first).index_fill(0, torch.tensor([2]), wrong)
        told = rf"{argument} must hold integers in \[{first}, {end}\), got {wrong}"
        with pytest.raises(IndexError, match=told):
            function(*given)


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize("wrong", [6, 10**12])
def test_a_choice_that_sees_to_one_side_leaves_the_other_to_be_refused(
    wrong: int, target: str, c_compiler: None
) -> None:
    function = compile(POSITIONS["before"], target).before
    at = torch.tensor([0, 5, -3])
    assert function(torch.ones(1, 5), at)[:, 0].tolist() == [0, 1, 0]
    told = r"at (must hold integers in \[-inf, 6\), got|holds an index that is out of range)"
    with pytest.raises(IndexError, match=told):
        function(torch.ones(1, 5), torch.tensor([0, wrong]))


@pytest.mark.parametrize("target", ["torch", "c"])
def test_integers_are_subtracted_before_they_are_rounded(target: str, c_compiler: None) -> None:
    lines = "inputs v[n], a[n] (integer), b[n] (integer)\ny[n] = v[n]*abs(a[n] - b[n])"
    (definition,) = read(lines, POSITIONS.__getitem__).values()
    since = torch.tensor([1_700_000_000])
    function = compile(definition, target).operation
    assert function(torch.ones(1), since + 7, since).item() == 7


def test_what_refuses_numbers_out_of_range_itself_is_left_to_it() -> None:
    text = source(POSITIONS["messages"])
    assert '_in_range("j", j, P)' in text and '_in_range("i"' not in text  # torch.embedding


def test_gradients_are_put_where_the_positions_are_without_tensors_between() -> None:
    text = source(POSITIONS["sampled"])
    backward = text[text.index("def backward") : text.index("def double_backward")]
    assert backward.count("new_zeros(") == 1
    assert backward.count("index_put") == 4
    assert "scatter" not in backward


def test_transforms_and_the_compiler_see_through_sums_by_place() -> None:
    mine, given = compile(POSITIONS["attention"]).attention, PYTORCH["attention"][1]
    s, *others = (t.detach() for t in given)

    def slope(s: Tensor) -> Tensor:
        return torch.func.grad(lambda s: mine(s, *others).square().sum())(s)

    batched = torch.func.vmap(slope)(torch.stack([s, s.flip(0)]))
    torch.testing.assert_close(batched[1], slope(s.flip(0)))
    compiled = torch.compile(mine, fullgraph=True)
    torch.testing.assert_close(compiled(s, *others), attention(s, *others))


def test_transforms_and_the_compiler_see_through_positions() -> None:
    (module, given) = compile(POSITIONS["sampled"]), PYTORCH["sampled"][1]
    im, *others = (t.detach() for t in given)

    def slope(im: Tensor, row: Tensor) -> Tensor:
        def total(im: Tensor) -> Tensor:
            return module.sampled(im, others[0], others[1], row, others[3]).square().sum()

        return torch.func.grad(total)(im)

    row = others[2]
    batched = torch.func.vmap(slope, (None, 0))(im, torch.stack([row, row.flip(0)]))
    torch.testing.assert_close(batched[1], slope(im, row.flip(0)))
    compiled = torch.compile(module.sampled, fullgraph=True)
    torch.testing.assert_close(compiled(im, *others), sampled(im, *others))
