"""Tensors of more elements than 32 bits count."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from generated.c import embedding

ROWS = 2**31 + 8


@pytest.fixture
def weight(c_compiler: None) -> torch.Tensor:
    """Zeros that take no memory until they are written to: 8 GB that are never there."""
    try:
        return torch.from_numpy(np.zeros((ROWS, 1), np.float32))
    except MemoryError:
        pytest.skip("this machine does not promise 8 GB of address space to a process")


def test_an_element_past_the_31st_bit_is_the_one_that_is_read(weight: torch.Tensor) -> None:
    places = [ROWS - 1, 2**31, 2**31 - 1, ROWS - 2**31, 0]
    for place in places:
        weight[place] = place % 1000 + 1
    y, _ = embedding.forward(torch.tensor([places]), weight)
    assert y.flatten().tolist() == [place % 1000 + 1 for place in places]


def test_an_index_past_the_end_of_a_large_tensor_is_refused(weight: torch.Tensor) -> None:
    with pytest.raises(IndexError, match="tokens holds an index that is out of range"):
        embedding.forward(torch.tensor([[ROWS]]), weight)
