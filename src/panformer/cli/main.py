"""The command line. Commands import what they need when they run, so that `--help` stays quick."""

from __future__ import annotations

import errno
import sys
from importlib import import_module
from typing import Annotated, Any

import typer

from .. import __version__
from ..core.errors import PanformerError

STOPPED = 130
PLACE = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ENOENT,
)  # of a file that was named
COMMANDS = {  # in the order of --help; name -> file and what it holds
    "version": "main:version", "choose": "choose:choose", "predict": "choose:predict", "eval": "choose:evaluate",
    "train": "choose:train", "compare": "compare:compare", "tasks": "tasks:tasks", "papers": "papers:app",
    "check": "papers:check", "spec": "spec:app", "parts": "parts:parts", "import": "convert:import_",
    "generate": "generate:generate", "stream": "stream:stream", "estimate": "estimate:estimate",
    "doctor": "estimate:doctor", "export": "export:export", "optimize": "optimize:optimize", "bench": "bench:bench",
    "atlas": "atlas:atlas",
}  # fmt: skip


def program(asked: str | None = None) -> typer.Typer:
    """All commands; of one that is `asked` for by its name, just that, so that no call waits for the others."""
    app = typer.Typer(
        name="panformer",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        help="From your own data and budget to the best efficient model, with evidence.",
        epilog="First steps: [bold]panformer choose digits --minutes 3[/bold] · [bold]panformer papers mamba[/bold]",
    )
    app.callback()(root)
    for name in [asked] if asked is not None and asked in COMMANDS else list(COMMANDS):
        file, _, inside = COMMANDS[name].partition(":")
        found = getattr(import_module(f"{__package__}.{file}"), inside)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the full traceback of an error.")] = False,
) -> None:
    """Global options."""


def version() -> None:
    """Print the version.

    Example: panformer version
    """
    typer.echo(__version__)


def main(args: list[str] | None = None) -> Any:
    """Run a command; every failure is one line and an exit code (0 ok, 1 failed, 2 input, 3 environment, 130 stopped)."""
    args = sys.argv[1:] if args is None else args
    try:
        code = program(next((a for a in args if not a.startswith("-")), None))(args, standalone_mode=False)
        if code == STOPPED:  # typer has caught Ctrl-C and says nothing
            _say("stopped")
        sys.exit(code if isinstance(code, int) else 0)
    except typer.Exit as done:
        sys.exit(done.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _say("stopped")
        sys.exit(STOPPED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except Exception as fault:
        if "--debug" in args:
            raise
        if hasattr(fault, "format_message"):  # a wrong call, whichever click typer is built on
            if type(fault).__name__ != "NoArgsIsHelpError":  # the help has been shown
                _say(_usage(fault))
            sys.exit(2)
        if isinstance(fault, PanformerError):
            _say(str(fault))
            sys.exit(fault.exit_code)
        if isinstance(fault, OSError) and fault.filename is not None:
            _say(f"{fault.filename}: {fault.strerror}")
            sys.exit(2 if fault.errno in PLACE else 1)
        if isinstance(fault, OSError) and fault.errno in PLACE:
            _say(f"could not write: {fault.strerror}")
            sys.exit(2)
        _say(
            f"{type(fault).__name__}: {' '.join(str(fault).split())[:500]} (a fault of panformer; --debug shows where)"
        )
        sys.exit(1)


def _usage(fault: Any) -> str:
    """The message of a wrong call, with the known options where one was unknown."""
    line = " ".join(fault.format_message().split())
    context = getattr(fault, "ctx", None)
    if context is None:
        return line
    if type(fault).__name__ == "NoSuchOption":
        names = sorted({"--help", *(o for p in context.command.params for o in p.opts if o.startswith("--"))})
        line = f"unknown option {fault.option_name}; known: {', '.join(names)}"
    return f"{line} (see {context.command_path} --help)"


def _say(line: str) -> None:
    print(f"error: {line}", file=sys.stderr)
