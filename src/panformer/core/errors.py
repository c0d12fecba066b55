"""One line for the person, one exit code for the shell."""

import difflib
from collections.abc import Iterable


class PanformerError(Exception):
    """Something failed while running. The message is one line that a person can act on."""

    exit_code = 1


class InputError(PanformerError, ValueError):
    """Bad input: names the file, key or row, and says what would be right."""

    exit_code = 2


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


def unknown(what: str, name: str, known: Iterable[str]) -> InputError:
    """`unknown mixer 'atention'; did you mean 'attention'? known: ...`"""
    known = sorted(known)
    close = difflib.get_close_matches(str(name), known, 1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return InputError(f"unknown {what} {name!r}; {hint}known: {', '.join(known) or 'none'}")
