"""One line for the person, one exit code for the shell."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class PanformerError(Exception):
    """Something failed while running. The message is one line that a person can act on."""

    exit_code = 1


class InputError(PanformerError, ValueError):
    """Bad input: names the file, key or row, and says what would be right."""

    exit_code = 2


class WriteError(PanformerError):
    """A place that cannot be written, such as a full disk; nothing at that place is half-written."""

    exit_code = 2


@contextmanager
def writing(place: str | Path) -> Iterator[None]:
    """What the system refuses to write in here is told in one line that names the place."""
    try:
        yield
    except OSError as fault:
        raise WriteError(f"{place}: could not write ({fault.strerror or fault})") from fault


class EnvironmentGap(PanformerError, ImportError):
    """Something this machine lacks, such as an optional package."""

    exit_code = 3


def require(module: str, extra: str):
    """Import an optional package, or say which extra brings it."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as gap:
        raise EnvironmentGap(f"{module} is not installed; run: pip install 'panformer[{extra}]'") from gap


def check_type(what: str, given: object, *kinds: type) -> None:
    """Refuse what is of none of these types."""
    if not isinstance(given, kinds):
        raise InputError(f"{what}: expected a {' or '.join(k.__name__ for k in kinds)}, got a {type(given).__name__}")


def unknown(what: str, name: str, known: Iterable[str]) -> InputError:
    """`unknown mixer 'atention'; did you mean 'attention'? known: ...`"""
    known = sorted(known)
    close = difflib.get_close_matches(str(name), known, 1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return InputError(f"unknown {what} {name!r}; {hint}known: {', '.join(known) or 'none'}")
