"""Freed memory stays with the process that asked for it, and with no other."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from panformer.core.memory import SAID

GLIBC = platform.libc_ver()[0] == "glibc"
CODE = """
import resource, torch
from panformer.core.memory import keep_freed
print(keep_freed() if {keep} else False)
for _ in range(40):
    torch.ones(10_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(10_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(keep: bool, **said: str) -> tuple[str, int]:
    env = {k: v for k, v in os.environ.items() if k not in SAID} | said
    done = subprocess.run([sys.executable, "-c", CODE.format(keep=keep)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told, faults = done.stdout.split()
    return told, int(faults)


@pytest.mark.skipif(not GLIBC, reason="no glibc here, and other C libraries are left alone")
def test_large_tensors_come_without_page_faults():
    told, faults = run(True)
    assert told == "True" and faults < 1000, f"{faults} page faults in tensors of 80 MB that were there before"
    told, faults = run(False)
    assert told == "False" and faults > 1000, (
        f"{faults} page faults: there is nothing to gain, or the test cannot see it"
    )


def test_whoever_said_otherwise_is_heard():
    assert run(True, MALLOC_TRIM_THRESHOLD_="1000000")[0] == "False"
