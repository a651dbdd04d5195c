"""Public functions agree with PyTorch's on the samples that PyTorch tests its own with."""

from importlib import import_module

import pytest
import torch
from click.testing import CliRunner
from torch.testing._internal.common_dtype import floating_types
from torch.testing._internal.opinfo.core import OpInfo, SampleInput

from derive import library
from gradsmith.cli import main
from gradsmith.proof import opinfo
from gradsmith.proof.opinfo import KINDS, count, entries

pytestmark = pytest.mark.slow

PUBLIC = [name for name in library.names() if library.load(name).interface is not None]
SAMPLED = [name for name in PUBLIC if entries(name)]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", SAMPLED)
def test_every_sample_of_an_operation_agrees(name: str) -> None:
    result = count(name, getattr(import_module(f"generated.{name}"), name))
    assert not result.problems
    assert all(result.all[kind] for kind in KINDS[:4])


def test_a_wrong_value_a_wrong_gradient_and_a_wrong_shape_are_each_found() -> None:
    relu = torch.nn.functional.relu
    wrong = {
        "value": lambda x, inplace=False: relu(x) + 1e-3,
        "gradient": lambda x, inplace=False: relu(x).detach() + 0 * x,
        "shape": lambda x, inplace=False: relu(x).unsqueeze(0),
    }
    for function in wrong.values():
        result = count("relu", function)
        assert result.problems
        assert result.agreed.total() < result.all.total()


def test_a_wrong_element_is_found_beside_an_infinite_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(_: OpInfo, device: str, dtype: torch.dtype, requires_grad: bool) -> list[SampleInput]:
        return [SampleInput(torch.tensor([0, 2], dtype=dtype, requires_grad=requires_grad))]

    entry = OpInfo("log", dtypes=floating_types(), sample_inputs_func=drawn)
    monkeypatch.setattr(opinfo, "entries", lambda name: [entry])
    assert not count("log", torch.log).problems
    off = torch.tensor([0.0, 1e-3])
    assert count("log", lambda x: torch.log(x) + off).agreed.total() == 0


def test_what_pytorch_refuses_and_a_function_accepts_is_a_problem() -> None:
    lenient = count(
        "softshrink", lambda x, lambd=0.5: torch.nn.functional.softshrink(x, abs(lambd))
    )
    assert lenient.all["errors"] > lenient.agreed["errors"]


def test_the_counts_are_printed_by_operation() -> None:
    result = CliRunner().invoke(main, ["check", "--opinfo", "relu", "softsign"])
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["relu", "softsign"]
    assert "float64 strided" in result.stdout
    assert "samples agree" in result.stderr
