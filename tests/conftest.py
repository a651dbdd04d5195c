"""What tests of several rooms share: the C target, and the proof that it did the work."""

from __future__ import annotations

import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_leaves

from derive import Definition, library

NO_COMPILER = "no C compiler: install one as `cc`, or name one as CC"

OPERATIONS = frozenset(library.names())

CallsOf = Callable[[ModuleType], Counter[str]]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have one worker run all tests of an operation, which it derives once; and those of a test's
    own definition, for both targets."""
    for item in items:
        group = _operation(item) or _definition(item)
        if not item.get_closest_marker("xdist_group") and group:
            item.add_marker(pytest.mark.xdist_group(group))


def _operation(item: pytest.Item) -> str | None:
    """The operation of the library that a test was given, if it was given one."""
    callspec = getattr(item, "callspec", None)
    for value in callspec.params.values() if callspec else ():
        name = value.name if isinstance(value, Definition) else str(value)
        if (operation := name.partition("[")[0]) in OPERATIONS:
            return operation
    return None


def _definition(item: pytest.Item) -> str | None:
    """The definition that a test for either target was given by its name, and the tests' module."""
    given = callspec.params if (callspec := getattr(item, "callspec", None)) else {}
    name = given.get("name") if "target" in given else None
    return f"{name} of {item.path.stem}" if isinstance(name, str) else None


@pytest.fixture(scope="session", autouse=True)
def temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What lives as long as the process is in pytest's folders: a worker ends without farewell."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("process")))
        yield


@pytest.fixture(scope="session")
def c_compiler() -> None:
    """Skips what needs a C compiler where there is none."""
    from generated.c.loader import compiler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = compiler()
    if found is None:
        pytest.skip(NO_COMPILER)


@pytest.fixture
def quickly_built(c_compiler: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for C files, and for libraries that are built for once, without optimising."""
    from generated.c import loader

    command, identity = loader.compiler() or ([], b"")
    monkeypatch.setattr(loader, "compiler", lambda: ([*command, "-O0"], identity + b"-O0"))
    monkeypatch.setattr(loader, "_folder", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def calls_of(c_compiler: None, monkeypatch: pytest.MonkeyPatch) -> CallsOf:
    """How often each C function of a module is called from now on, by its name.

    What the module would leave to torch's file raises instead, but for what autograd records.
    """

    def count(module: ModuleType) -> Counter[str]:
        calls: Counter[str] = Counter()

        def counted(function: Any, dtype: Any) -> Any:
            calls[function._name] += 1
            return dict.__getitem__(function, dtype)

        monkeypatch.setattr(module.Function, "__getitem__", counted, raising=False)
        for name, function in [*vars(module.in_torch).items()]:
            if name.startswith(("forward", "backward", "value_and_grad")):
                monkeypatch.setattr(module.in_torch, name, _refused(function))
        return calls

    return count


def _refused(function: Callable[..., Any]) -> Callable[..., Any]:
    def called(*args: object, **named: object) -> Any:
        tensors = [a for a in tree_leaves((args, named)) if isinstance(a, torch.Tensor)]
        if not any(tensor.requires_grad for tensor in tensors):
            raise AssertionError("torch computed what C is to compute")
        return function(*args, **named)

    return called
