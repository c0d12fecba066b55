"""The pages themselves, read as a browser without scripts reads them: nothing missing, nothing broken, nothing typed."""

import json
import urllib.error
import urllib.request
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest

from panformer.atlas import facts
from panformer.atlas.build import build
from panformer.bench.pages import bare
from panformer.cli.main import main
from panformer.core.errors import InputError
from panformer.papers import catalogue

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """What a page holds: its elements, links, ids, text, and whether every element is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.ids, self.open, self.wrong, self.words = [], [], [], [], [], []
        self.feed(text)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append((tag, found))
        self.links += [found[k] for k in ("href", "src") if k in found]
        self.ids += [found["id"]] if "id" in found else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [found for name, found in self.tags if name == tag]


@pytest.fixture(scope="module")
def pages(made):
    return {path.relative_to(made[0]).as_posix(): Page(path.read_text("utf-8")) for path in made[0].rglob("*.html")}


def test_all_rows_have_pages_and_pages_are_small(made):
    out, told = made
    assert told.papers == 448 == len(list((out / "papers").iterdir())) and told.parts == len(facts.every())
    for path in out.rglob("*.html"):
        assert bare(path.read_text("utf-8")) < 300_000, path


def test_no_link_is_broken(made, pages):
    out, lost = made[0], []
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme in ("https", "data"):
                continue
            target = (out / name).parent / unquote(parts.path) if parts.path else out / name
            there = target.resolve().relative_to(out.resolve()).as_posix()
            if not target.is_file() or (parts.fragment and parts.fragment not in pages[there].ids):
                lost.append(f"{name}: {link}")
    assert not lost, lost[:10]


def test_every_page_can_be_reached_from_home(made, pages):
    seen, queue = {"index.html"}, ["index.html"]
    while queue:
        name = queue.pop()
        for link in pages[name].links:
            parts = urlsplit(link)
            if parts.scheme or not parts.path:
                continue
            there = ((made[0] / name).parent / parts.path).resolve().relative_to(made[0].resolve()).as_posix()
            if there in pages and there not in seen:
                seen.add(there)
                queue.append(there)
    assert seen == set(pages), sorted(set(pages) - seen)[:10]


def test_pages_are_well_formed_and_have_landmarks(pages):
    for name, page in pages.items():
        assert not page.wrong and not page.open, (name, page.wrong[:3], page.open)
        assert len(page.ids) == len(set(page.ids)), name
        assert [len(page.all(tag)) for tag in ("h1", "main", "header", "nav", "footer")] == [1] * 5, name
        assert page.all("html")[0].get("lang") == "en"
        for svg in page.all("svg"):
            assert svg.get("aria-label") or svg.get("aria-hidden") == "true", name
        assert all(img.get("alt") for img in page.all("img")), name


def test_nothing_comes_from_elsewhere(made, pages):
    """Scripts, styles, fonts and pictures are the atlas's own; only a person's click leads out."""
    for name, page in pages.items():
        for tag in ("script", "link", "img"):
            for found in page.all(tag):
                assert urlsplit(found.get("src") or found.get("href")).scheme in ("", "data"), (name, found)
        assert not [t for t, found in page.tags if "style" in found or any(k.startswith("on") for k in found)], name
    assert "url(" not in (made[0] / "atlas.css").read_text("utf-8")


def test_home_has_every_paper_without_scripts(pages):
    home = pages["index.html"]
    rows = catalogue.rows()
    assert {f"papers/{r.slug}.html" for r in rows} <= set(home.links)
    for row in rows:
        assert " ".join(row.title.split()) in home.text
    for state in ("upheld", "not upheld", "inconclusive"):
        assert f"{state} {sum(r.verdict == state for r in rows)}" in home.text
    assert "hidden" in home.all("form")[0], "filters do nothing without scripts, so they are not shown"


def test_a_paper_page_tells_everything_that_its_run_recorded(pages):
    checked = [r for r in catalogue.rows() if r.evidence]
    assert checked
    for row in checked:
        text = pages[f"papers/{row.slug}.html"].text
        assert row.evidence["command"] in text and row.evidence["date"] in text
        for one in row.evidence["checks"]:
            assert " ".join(one["reason"].split()) in text, row.slug
            for value in one["numbers"].values():
                for number in value if isinstance(value, list) else [value]:
                    if isinstance(number, float):
                        assert f"{number:.6g}" in text, (row.slug, number)


def test_where_it_loses_names_every_check_that_was_not_upheld(pages):
    for row in catalogue.rows():
        for i, one in enumerate(row.evidence["checks"] if row.evidence else [], 1):
            if one["verdict"] == "not upheld":
                assert f"Check {i} , not upheld" in pages[f"papers/{row.slug}.html"].text, row.slug


def test_a_planned_paper_says_so(pages):
    row = next(r for r in catalogue.rows() if r.status == "planned" and not r.fault)
    text = pages[f"papers/{row.slug}.html"].text
    assert "This paper is planned" in text and "Where it loses" not in text


def test_a_comparison_shows_all_trials_and_pairs(pages):
    text = pages["compare/mqar.html"].text
    for word in ("linear attention <elu>", "0.024", "panformer compare mqar --with attention,mamba", "All 24 trials"):
        assert word in text, word
    assert "No comparison is recorded" not in pages["compare.html"].text


def test_an_arm_against_itself_has_a_page(pages):
    assert "null.html" in pages["compare.html"].links and "compare/null-state.html" not in pages
    text = pages["null.html"].text
    for word in (
        "parity length 8 32 300",
        "0.51 0.83 1 3.0%",
        "too few runs",
        "--null 12",
        "state attention 2 48 5 3.0%",
    ):
        assert word in text, word


def test_a_record_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "odd.json").write_text('{"format": 1, "name": "x"}', encoding="utf-8")
    with pytest.raises(InputError, match=r"odd\.json: a record of a comparison has the key 'task'"):
        build(tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()


def test_without_records_and_benchmarks_the_pages_say_so(tmp_path):
    row = catalogue.find("fnet")
    build(tmp_path / "out", tmp_path, tmp_path, (row,))
    assert "No comparison is recorded yet" in (tmp_path / "out" / "compare.html").read_text("utf-8")
    assert "No recorded benchmark was given" in (tmp_path / "out" / "speed.html").read_text("utf-8")


def test_a_folder_with_other_things_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(SystemExit) as done:
        main(["atlas", "--out", str(tmp_path)])
    assert done.value.code == 2 and "holds something that is no atlas" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("args", [["atlas"], ["atlas", "--out", "x", "--records", "no-such-folder"]])
def test_a_wrong_call_is_one_line(args, capsys):
    with pytest.raises(SystemExit) as done:
        main(args)
    assert done.value.code == 2 and len(capsys.readouterr().err.strip().splitlines()) == 1


def test_the_server_gives_the_folder_and_nothing_else(address, made):
    with urllib.request.urlopen(address) as answer:
        assert answer.read() == (made[0] / "index.html").read_bytes()
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    for path, code in (("%2e%2e/%2e%2e/etc/passwd", 404), ("papers/none.html", 404)):
        with pytest.raises(urllib.error.HTTPError) as fault:
            urllib.request.urlopen(address + path)
        assert fault.value.code == code
    with pytest.raises(urllib.error.HTTPError) as fault:
        urllib.request.urlopen(urllib.request.Request(address, data=b"x"))
    assert fault.value.code == 405
    assert json.loads((made[0] / "atlas.json").read_text("utf-8"))["papers"] == 448
