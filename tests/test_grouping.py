"""Tests of one operation run in one worker, which derives it once."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("name", ["softmax", "mse_loss[sum]"])
def test_a_worker_is_given_an_operation_whole(name: str, request: pytest.FixtureRequest) -> None:
    if not hasattr(request.config, "workerinput"):
        pytest.skip("these tests run in one process: -n makes workers")
    assert request.node.nodeid.endswith(f"@{name.partition('[')[0]}")


@pytest.mark.parametrize("target", ["torch", "c"])
@pytest.mark.parametrize("name", ["windowed"])
def test_a_worker_is_given_a_definition_for_both_targets(
    name: str, target: str, request: pytest.FixtureRequest
) -> None:
    if not hasattr(request.config, "workerinput"):
        pytest.skip("these tests run in one process: -n makes workers")
    assert request.node.nodeid.endswith(f"-{target}]@{name} of test_grouping")
