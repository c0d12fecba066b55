"""Every block of code in the documentation runs as it stands, page by page, in one folder for each page."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FENCE = re.compile(r"(?:<!-- (?P<mark>[^\n]*?) -->\n)?^```(?P<kind>python|bash)\n(?P<code>.*?)^```$", re.S | re.M)
COPY = "runs in: a copy of the checkout"
NOT_RUN = "not run: "
PATIENCE = 240  # seconds of one block


@dataclass(frozen=True)
class Block:
    line: int
    kind: str
    code: str
    mark: str


def blocks(text: str) -> list[Block]:
    return [
        Block(text.count("\n", 0, m.start("code")) + 1, m["kind"], m["code"], m["mark"] or "")
        for m in FENCE.finditer(text)
    ]


def run(page: Path, folder: Path) -> str:
    """'' where all blocks of a page ran, else where the first fault is, in a line."""
    found = blocks(page.read_text(encoding="utf-8"))
    copied = any(b.mark == COPY for b in found)
    if copied:
        for name in ("src", "tests"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
    home = (folder if copied else ROOT) / "src"
    commands = folder / ".bin"
    commands.mkdir()
    (commands / "panformer").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m panformer "$@"\n')
    (commands / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    for file in commands.iterdir():
        file.chmod(0o755)
    env = {
        **os.environ,
        "PYTHONPATH": str(home),
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    for block in found:
        if block.mark.startswith(NOT_RUN):
            continue
        call = (
            ["bash", "-euo", "pipefail", "-c", block.code]
            if block.kind == "bash"
            else [sys.executable, "-c", block.code]
        )
        done = subprocess.run(call, cwd=folder, env=env, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
            return f"{page.name}:{block.line}: {last}"
    return ""


@pytest.mark.parametrize(
    "page", sorted(p for p in DOCS.glob("*.md") if blocks(p.read_text(encoding="utf-8"))), ids=lambda p: p.name
)
def test_the_blocks_of_a_page_run(page, tmp_path):
    fault = run(page, tmp_path)
    assert not fault, fault


def test_a_block_that_fails_is_named(tmp_path):
    page = tmp_path / "bad.md"
    page.write_text("# A page\n\n```bash\necho fine\n```\n\n```python\nimport panformer\npanformer.nothing\n```\n")
    fault = run(page, tmp_path)
    assert fault.startswith("bad.md:8: AttributeError: panformer has no 'nothing'")


def test_entries_in_the_text_are_sound():
    import yaml

    from panformer.papers.schema import Paper

    found = re.findall(r"^```yaml\n(.*?)^```$", (DOCS / "adding-a-paper.md").read_text(encoding="utf-8"), re.S | re.M)
    assert found and all(Paper.model_validate(yaml.safe_load(text)).checks for text in found)


def test_what_is_not_run_says_why():
    for page in DOCS.glob("*.md"):
        for block in blocks(page.read_text(encoding="utf-8")):
            if block.mark.startswith(NOT_RUN):
                assert len(block.mark) > len(NOT_RUN) + 10, f"{page.name}:{block.line}: a reason is wanted"
