"""Shared by all tests: one thread, one seed, so that any order gives the same numbers."""

import gc
import sys

import pytest
import torch

sys.modules["fla"] = None  # transformers would take its kernels, which want a GPU; only its plain files are read here


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """The collector of garbage walks once what is here when the first test starts, 13,000 tests and the modules.

    It is also asked less often: tracing and compiling make so many objects that it took a quarter of their time.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.set_threshold(700, 10, 50)  # full collections alone are rarer: cycles that die young go as soon as ever
        gc.enable()


@pytest.fixture(autouse=True)
def _same_every_time():
    torch.set_num_threads(1)
    torch.manual_seed(0)
