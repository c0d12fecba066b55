"""Shared by all tests: one thread, one seed, so that any order gives the same numbers."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _same_every_time():
    torch.set_num_threads(1)
    torch.manual_seed(0)
