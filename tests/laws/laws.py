"""Every law, by name: what each part of every family must obey, on each set of its example options.

A law takes a part class and its options and raises AssertionError in one line. It stands in the file of
its kind; `judge.py` holds the tolerances and `subject.py` how each family is fed.
"""

from . import options, precision, sight, streams
from .judge import LAWS
from .precision import kernel_calls

__all__ = ["LAWS", "kernel_calls", "options", "precision", "sight", "streams"]
