"""`check --target c`: every gradient that the C files compute, and nobody else does, is proven."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch
from click.testing import CliRunner

from codegen.pipeline import compile
from derive import library
from derive.files import load_definitions
from gradsmith.cli import main
from gradsmith.proof.check import check
from gradsmith.proof.opinfo import DTYPES, KINDS, count, entries

pytestmark = pytest.mark.slow

CallsOf = Callable[[ModuleType], Counter[str]]

DEFINITIONS = {
    name: definition
    for path in sorted((Path(__file__).parents[1] / "definitions").glob("*.py"))
    for name, definition in load_definitions(path).items()
}
PUBLIC = [name for name in library.names() if library.load(name).interface is not None]
SAMPLED = [name for name in PUBLIC if entries(name)]


@pytest.mark.parametrize("name", library.names())
def test_every_gradient_of_the_library_is_proven_in_c(name: str, calls_of: CallsOf) -> None:
    module = import_module(f"generated.c.{name}")
    calls = calls_of(module)
    for variant in library.load(name).variants:
        calls.clear()
        rows = check(variant, module)
        assert [row.input for row in rows] == list(variant.wrt)
        assert all(row.passed for row in rows), rows
        assert calls["forward"] and calls["backward"]


@pytest.mark.parametrize("name", DEFINITIONS)
def test_an_operation_that_the_library_does_not_have_is_proven_in_c(
    name: str, calls_of: CallsOf
) -> None:
    module = compile(DEFINITIONS[name], "c")
    calls = calls_of(module)
    rows = check(DEFINITIONS[name], module)
    assert all(row.passed for row in rows), [row for row in rows if not row.passed]
    assert calls["forward"] and calls["backward"]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", SAMPLED)
def test_every_sample_of_an_operation_agrees_in_c(name: str, calls_of: CallsOf) -> None:
    module = import_module(f"generated.c.{name}")
    calls = calls_of(module)
    result = count(name, getattr(module, name))
    assert not result.problems
    assert calls["forward"] >= sum(result.all[kind] for kind in KINDS[:4])
    assert calls["backward"] >= len(DTYPES)


def test_what_torch_computes_instead_is_seen(calls_of: CallsOf) -> None:
    module = import_module("generated.c.tanh")
    calls = calls_of(module)
    with pytest.raises(AssertionError, match="torch computed"):
        module.forward(torch.ones(3, 2, dtype=torch.float16))
    assert not calls


def test_the_command_proves_what_is_emitted_in_c(c_compiler: None) -> None:
    result = CliRunner().invoke(main, ["check", "tanh", "linear", "--target", "c"])
    assert result.exit_code == 0, result.output
    assert "gradients agree" in result.stderr and " 0 of" not in result.stderr
