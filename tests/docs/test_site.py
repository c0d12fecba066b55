"""The documentation site is built without a warning, and its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

ROOT = Path(__file__).parents[2]


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.ids = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.links += [found[k] for k in ("href", "src") if found.get(k)]
        self.ids.add(found.get("id"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("sphinx", reason="sphinx is not installed: pip install 'panformer[docs]'")
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", str(out / "doctrees"), str(ROOT / "docs"), str(out / "html")],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return {
        p.relative_to(out / "html").as_posix(): Page(p.read_text()) for p in (out / "html").rglob("*.html")
    }, out / "html"


def test_no_link_is_broken(site):
    pages, home = site
    lost = []
    for name, page in pages.items():
        for link in page.links:
            target, anchor = urldefrag(unquote(link).partition("?")[0])
            if re.match(r"[a-z]+:|//", link) or name in ("genindex.html", "search.html"):
                continue
            to = (home / name).parent / target if target else home / name
            if not to.exists():
                lost.append(f"{name} -> {link}")
            elif (
                anchor
                and to.suffix == ".html"
                and anchor not in pages[to.resolve().relative_to(home.resolve()).as_posix()].ids
            ):
                lost.append(f"{name} -> {link}")
    assert not lost, lost[:10]


def test_every_part_has_its_place_in_the_reference(site):
    from panformer.core.part import FAMILIES, known

    for family in FAMILIES:
        text = (site[1] / f"reference/{family}.html").read_text()
        assert all(f"{family}/{use}" in text for use in known(family)), family
