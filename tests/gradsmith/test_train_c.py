"""Training in C: the run that torch gives, many steps in one call, and parameters left whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from importlib import import_module
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from click.testing import Result
from torch import Tensor

from gradsmith.errors import Failure
from gradsmith.makemore import checkpoint, gradients, notebook
from gradsmith.makemore import dataset as names
from gradsmith.makemore.checkpoint import Options
from gradsmith.makemore.gradients import committed, emitted_arguments
from gradsmith.makemore.training import BLOCK, Training
from tests.gradsmith.runs import newest, same

pytestmark = pytest.mark.slow

Command = Callable[..., Result]
CallsOf = Callable[[ModuleType], Counter[str]]


@pytest.fixture(autouse=True)
def _needs_a_compiler(c_compiler: None) -> None:
    pass


def training(data: names.Dataset, steps: int, target: str = "c", to: str = "generated") -> Training:
    return Training(data, Options(steps, to, 0, None, "", target))


# --- the same run ---


@pytest.mark.parametrize("backward", ["generated", "chunked"])
def test_the_losses_of_a_thousand_steps_are_those_of_torch(
    backward: str, calls_of: CallsOf
) -> None:
    data = names.load(None)
    in_torch = training(data, 1001, "torch", backward)
    with torch.no_grad():
        list(in_torch.advance())
        in_c = training(data, 1001, "c", backward)
        calls = calls_of(committed(gradients.OPERATIONS[backward], "c"))
        list(in_c.advance())
        ours, theirs = (run.checkpoint().losses for run in (in_c, in_torch))
    assert calls["steps"] == -(-1001 // BLOCK)
    assert (ours - theirs).abs().max().item() <= 1e-4


def test_a_resumed_run_reaches_the_same_bits(few_names: Path, tmp_path: Path) -> None:
    data = names.load(few_names)
    with torch.no_grad():
        whole = training(data, 60)
        list(whole.advance())
        part = training(data, 60)
        for advance in part.advance(stop_every=7):
            if advance.step == 21:
                break
        found = checkpoint.load(checkpoint.save(tmp_path, part.checkpoint()))
        rest = Training(data, found.options, found)
        list(rest.advance(stop_every=11))
        assert same(rest.checkpoint(), whole.checkpoint())


def test_a_run_interrupted_once_a_call_has_changed_parameters_reaches_the_same_bits(
    tmp_path: Path, few_names: Path, gradsmith: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["train", "--target", "c", "--steps", 1700, "--names", few_names]
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    module = committed("makemore_mlp", "c")
    right, calls = module.steps, count(1)

    def interrupted(**given: Tensor) -> Tensor:
        losses = right(**given)
        if next(calls) == 3:
            raise KeyboardInterrupt
        return losses

    with monkeypatch.context() as patch:
        patch.setattr(module, "steps", interrupted)
        assert "stopped at step 1000;" in gradsmith(*arguments, "--out", stopped).stderr
    assert newest(stopped).step == 1000
    assert gradsmith("train", "--resume", "--out", stopped).exit_code == 0
    assert gradsmith(*arguments, "--out", whole).exit_code == 0
    assert same(newest(stopped), newest(whole))


# --- what the command takes ---


def test_a_run_is_in_c_where_nothing_else_is_said_and_keeps_to_its_target(
    tmp_path: Path, few_names: Path, gradsmith: Command
) -> None:
    arguments = ["train", "--steps", 4, "--names", few_names]
    begun = gradsmith(*arguments, "--out", tmp_path / "c")
    assert "generated gradients in c" in begun.stderr
    other = gradsmith(*arguments, "--out", tmp_path / "torch", "--target", "torch")
    assert "generated gradients in torch" in other.stderr
    for target, another in (("c", "torch"), ("torch", "c")):
        folder = tmp_path / target
        assert newest(folder).options.target == target
        resumed = gradsmith("train", "--resume", "--out", folder)
        assert resumed.exit_code == 0
        assert f"gradients in {target}" in resumed.stderr
        refused = gradsmith("train", "--resume", "--out", folder, "--target", another)
        assert refused.exit_code == 2
        assert f"--target {another} (the run has {target})" in refused.stderr


def test_autograds_gradients_are_not_to_be_had_in_c(tmp_path: Path, gradsmith: Command) -> None:
    refused = gradsmith("train", "--target", "c", "--backward", "autograd", "--out", tmp_path / "a")
    assert refused.exit_code == 2
    assert "--target c is for emitted gradients, not --backward autograd" in refused.stderr
    assert not list((tmp_path / "a").glob("*"))


def test_gradients_in_c_are_checked_on_the_way(
    few_names: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = names.load(few_names)
    with torch.no_grad():
        checks = [c for a in training(data, 31).advance(check_every=10) for c in a.checks]
        assert [check.step for check in checks] == [0, 10, 20, 30]
        module = committed("makemore_mlp", "c")
        right = module.value_and_grad

        def wrong(**given: Tensor) -> tuple[Tensor, Any]:
            loss, found = right(**given)
            return loss, found._replace(grad_W1=found.grad_W1 * 31 / 32)

        monkeypatch.setattr(module, "value_and_grad", wrong)
        with pytest.raises(Failure, match="the gradient of W1 is not autograd's"):
            list(training(data, 31).advance(check_every=10))


# --- many steps in one call ---


@pytest.fixture
def given() -> dict[str, Tensor]:
    """Parameters, and a data set of 40 samples."""
    g = torch.Generator().manual_seed(0)
    parameters, _ = notebook.initialise(27, 16, 0)
    X, Y = (torch.randint(0, 27, shape, generator=g) for shape in ((40, 3), (40,)))
    return emitted_arguments(parameters, X, Y)


STEPS = torch.arange(5 * 8).view(5, 8) % 40


def parameters_of(given: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in given.items() if value.is_floating_point()}


def untouched(given: dict[str, Tensor], before: dict[str, Tensor]) -> bool:
    return all(torch.equal(given[name], value) for name, value in before.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_steps_are_those_of_value_and_grad(
    given: dict[str, Tensor], dtype: torch.dtype, calls_of: CallsOf
) -> None:
    module = committed("makemore_mlp", "c")
    calls = calls_of(module)
    mine = {k: v.to(dtype) if v.is_floating_point() else v for k, v in given.items()}
    theirs = {name: value.clone() for name, value in mine.items()}
    losses = module.steps(**mine, samples=STEPS, rate=0.1)
    assert calls == {"steps": 1}
    for batch, loss in zip(STEPS, losses, strict=True):
        data = {"Xb": theirs["Xb"][batch], "Yb": theirs["Yb"][batch]}
        expected, found = module.value_and_grad(**{**theirs, **data})
        assert torch.allclose(loss, expected, rtol=1e-5)
        for name, gradient in found._asdict().items():
            theirs[name.removeprefix("grad_")].sub_(gradient, alpha=0.1)
    assert all(torch.allclose(mine[name], theirs[name], atol=1e-5) for name in mine)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"W1": None}, "W1 must be Tensor, not NoneType"),
        ({"samples": [[0, 1]]}, "samples must be Tensor, not list"),
        ({"rate": "fast"}, "rate must be a number, not str"),
    ],
)
def test_an_argument_of_another_kind_is_named(
    given: dict[str, Tensor], wrong: dict[str, object], words: str
) -> None:
    before = parameters_of(given)
    with pytest.raises(TypeError, match=words):
        committed("makemore_mlp", "c").steps(**{**given, "samples": STEPS, "rate": 0.1, **wrong})
    assert untouched(given, before)


def test_no_steps_are_no_losses(given: dict[str, Tensor]) -> None:
    before = parameters_of(given)
    losses = committed("makemore_mlp", "c").steps(**given, samples=STEPS[:0], rate=0.1)
    assert losses.shape == (0,)
    assert untouched(given, before)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("wrong", [-1, 40, 2**62])
def test_a_sample_that_is_not_there_is_refused_before_the_first_step(
    given: dict[str, Tensor], wrong: int, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, before = committed("makemore_mlp", "c"), parameters_of(given)
    if not compiled:
        monkeypatch.setattr(module, "serves", lambda *tensors: False)
    samples = STEPS.clone()
    samples[3, 5] = wrong
    with pytest.raises(IndexError, match="samples holds an index that is out of range"):
        module.steps(**given, samples=samples, rate=0.1)
    assert untouched(given, before)


def test_an_index_in_the_data_that_is_out_of_range_is_refused_before_its_step(
    given: dict[str, Tensor],
) -> None:
    module, before = committed("makemore_mlp", "c"), parameters_of(given)
    given["Xb"][0, 1] = 27
    with pytest.raises(IndexError, match="Xb holds an index that is out of range"):
        module.steps(**given, samples=STEPS, rate=0.1)
    assert untouched(given, before)


def test_a_parameter_that_is_not_contiguous_is_refused(given: dict[str, Tensor]) -> None:
    given["W1"] = given["W1"].T.contiguous().T
    before = parameters_of(given)
    with pytest.raises(ValueError, match="W1 must be contiguous, got strides"):
        committed("makemore_mlp", "c").steps(**given, samples=STEPS, rate=0.1)
    assert untouched(given, before)


def test_a_parameter_that_autograd_records_is_refused(given: dict[str, Tensor]) -> None:
    given["b2"].requires_grad_()
    before = parameters_of(given)
    module = committed("makemore_mlp", "c")
    with pytest.raises(RuntimeError, match=r"b2 requires a gradient .* under torch\.no_grad\(\)"):
        module.steps(**given, samples=STEPS, rate=0.1)
    assert untouched(given, before)
    with torch.no_grad():
        module.steps(**given, samples=STEPS, rate=0.1)
    assert not untouched(given, before)


@pytest.mark.parametrize("samples", [STEPS[0], STEPS.int(), STEPS.double(), STEPS[None]])
def test_samples_of_another_kind_are_refused(given: dict[str, Tensor], samples: Tensor) -> None:
    before = parameters_of(given)
    with pytest.raises(ValueError, match=r"samples must have shape \(steps, N\), int64, got"):
        committed("makemore_mlp", "c").steps(**given, samples=samples, rate=0.1)
    assert untouched(given, before)


def test_data_of_any_strides_are_taken(given: dict[str, Tensor]) -> None:
    module = committed("makemore_mlp", "c")
    strided = {name: value.clone() for name, value in given.items()}
    strided["Xb"] = given["Xb"].T.contiguous().T
    losses = [
        module.steps(**given, samples=STEPS, rate=0.1),
        module.steps(**strided, samples=STEPS.T.contiguous().T, rate=0.1),
    ]
    assert torch.equal(*losses)
    assert untouched(given, parameters_of(strided))


def test_without_c_many_steps_are_torchs(
    given: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module("generated.c.makemore_mlp")
    others = {name: value.clone() for name, value in given.items()}
    in_c = module.steps(**given, samples=STEPS, rate=0.1)
    monkeypatch.setattr(module, "serves", lambda *tensors: False)
    assert torch.allclose(module.steps(**others, samples=STEPS, rate=0.1), in_c, atol=1e-5)
    assert all(torch.allclose(given[name], others[name], atol=1e-5) for name in given)
