"""The reference is the notebook, line by line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from gradsmith.makemore import dataset as names
from gradsmith.makemore import notebook
from gradsmith.makemore.model import calibrate
from gradsmith.makemore.notebook import Parameters


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("n_hidden", [64, 200])
def test_parameters_are_drawn_as_in_the_notebook(seed: int, n_hidden: int) -> None:
    torch.manual_seed(seed)
    n_embd, block_size, vocab_size = 10, 3, 27
    g = torch.Generator().manual_seed(2147483647)
    expected = [
        torch.randn((vocab_size, n_embd), generator=g),
        torch.randn((n_embd * block_size, n_hidden), generator=g)
        * (5 / 3)
        / ((n_embd * block_size) ** 0.5),
        torch.randn(n_hidden, generator=g) * 0.1,
        torch.randn((n_hidden, vocab_size), generator=g) * 0.1,
        torch.randn(vocab_size, generator=g) * 0.1,
        torch.randn((1, n_hidden)) * 0.1 + 1.0,
        torch.randn((1, n_hidden)) * 0.1,
    ]
    parameters, ours = notebook.initialise(vocab_size, n_hidden, seed)
    assert all(torch.equal(a, b) for a, b in zip(parameters, expected, strict=True))
    assert torch.equal(ours.get_state(), g.get_state())


def test_drawing_a_block_of_minibatches_is_the_same_stream_as_one_by_one() -> None:
    one, many = (torch.Generator().manual_seed(3) for _ in range(2))
    drawn = torch.stack([torch.randint(0, 182625, (32,), generator=one) for _ in range(50)])
    assert torch.equal(drawn, torch.randint(0, 182625, (50, 32), generator=many))
    assert torch.equal(one.get_state(), many.get_state())


@pytest.fixture
def setting(few_names: Path) -> tuple[Parameters, names.Split]:
    data = names.load(few_names)
    parameters, g = notebook.initialise(len(data.vocabulary), 64, 0)
    return parameters.to(torch.float64), notebook.minibatch(data.train, g)


def test_both_forward_passes_and_torchs_own_agree(
    setting: tuple[Parameters, names.Split],
) -> None:
    parameters, batch = setting
    steps = notebook.forward(parameters, batch)
    torch.testing.assert_close(steps["loss"], notebook.loss(parameters, batch.X, batch.Y))
    torch.testing.assert_close(steps["loss"], F.cross_entropy(steps["logits"], batch.Y))


def test_gradients_are_those_that_backward_retains(
    setting: tuple[Parameters, names.Split],
) -> None:
    parameters, batch = setting
    leaves = parameters.requiring_grad()
    tensors = {**leaves._asdict(), **notebook.forward(leaves, batch)}
    for t in tensors.values():
        t.retain_grad()
    tensors.pop("loss").backward()
    found = notebook.gradients(parameters, batch)
    assert found.keys() == tensors.keys()
    for name, t in tensors.items():
        assert t.grad is not None
        assert torch.equal(found[name], t.grad), name


def test_a_calibrated_model_agrees_with_training_on_the_set_it_was_calibrated_on(
    setting: tuple[Parameters, names.Split],
) -> None:
    parameters, batch = setting
    model = calibrate(parameters, batch)
    expected = notebook.loss(parameters, batch.X, batch.Y).item()
    assert model.loss(batch) == pytest.approx(expected, rel=1e-9)


def test_a_sampled_name_ends_with_its_only_end_mark(
    setting: tuple[Parameters, names.Split],
) -> None:
    parameters, batch = setting
    vocabulary = tuple(".abcdefghijklmnopqrstuvwxyz"[: len(parameters.C)])
    model = calibrate(parameters, batch)
    g = torch.Generator().manual_seed(1)
    for _ in range(5):
        name = model.sample(vocabulary, g)
        assert name.index(".") == len(name) - 1
