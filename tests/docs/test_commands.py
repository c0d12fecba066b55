"""Every command that the documentation names exists, with the options that are written beside it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from panformer.cli.main import program

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").glob("*.md"))]
SAID = re.compile(r"`(panformer [^`\n]*)`|^\$ (panformer [^\n]*)$", re.M)


def faults(text: str) -> list[str]:
    """The commands in a text that panformer does not have, and options that they do not take."""
    found = []
    for told, line in SAID.findall(text):
        words = shlex.split((told or line).replace("|", " ").replace("'", ""))[1:]
        command: Any = typer.main.get_command(program())
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        if words and hasattr(command, "commands") and not re.match(r"-|[A-Z<]|\.\.\.", words[0]):
            found += [f"panformer {words[0]}"] if command.name == "panformer" else []
        known = {o for p in command.params for o in p.opts} | {"--help"}
        if command.name == "papers":  # its words go to `list`
            known |= {o for p in command.commands["list"].params for o in p.opts}
        asked = [w.partition("=")[0] for w in words if w.startswith("--")]
        found += [f"panformer {command.name} {o}" for o in asked if o.strip("[]") not in known]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_and_options_exist(page: Path) -> None:
    assert not (found := faults(page.read_text(encoding="utf-8"))), found


def test_an_unknown_option_is_found() -> None:
    assert faults("`panformer export runs/best --to onnx`") == ["panformer export --to"]
    assert faults("```\n$ panformer chose digits\n```") == ["panformer chose"]
