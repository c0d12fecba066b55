"""States of papers that are kept between calls are those that reading gives, and any change of a file makes them worthless."""

import os

import pytest

from panformer.papers import catalogue, listing, schema


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "panformer" / "papers.json"


def states(rows):
    return [(r.slug, r.status, r.verdict, r.fault) for r in rows]


def unread(monkeypatch):
    """From here on reading an entry fails."""
    monkeypatch.setattr(schema, "read", lambda path: pytest.fail(f"{path} was read"))


def test_what_is_kept_is_what_reading_gives(kept, monkeypatch):
    want = states(catalogue.rows())
    assert states(listing.listed()) == want and kept.is_file()
    unread(monkeypatch)
    assert states(listing.listed()) == want


def test_a_kept_row_still_has_its_entry():
    listing.listed()
    row = catalogue.find("fnet", listing.listed())
    assert row.entry.checks and row.evidence["slug"] == "fnet"


@pytest.mark.parametrize("text", ["", "{}", '{"stamp": 1, "states": []}', "null"])
def test_a_broken_file_is_no_fault(kept, text):
    kept.parent.mkdir()
    kept.write_text(text)
    assert states(listing.listed()) == states(catalogue.rows())


def test_where_nothing_can_be_kept_all_is_read(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert states(listing.listed()) == states(catalogue.rows())


def test_a_changed_package_is_read_again(tmp_path, kept, monkeypatch):
    monkeypatch.setattr(listing, "ROOT", tmp_path / "package")
    entry = tmp_path / "package" / "papers" / "mixers" / "one.yaml"
    entry.parent.mkdir(parents=True)
    entry.write_text("id: 1")
    seen = {listing._stamp()}
    for change in (
        lambda: entry.write_text("id: 12"),  # another size
        lambda: os.utime(entry, ns=(1, 1)),  # another time
        lambda: entry.with_name("two.yaml").write_text("id: 2"),
        lambda: entry.rename(entry.with_name("three.yaml")),
        lambda: entry.with_name("two.yaml").unlink(),
    ):
        change()
        assert listing._stamp() not in seen, change
        seen.add(listing._stamp())
    listing.listed()
    entry.with_name("four.yaml").write_text("")
    read = []
    monkeypatch.setattr(schema, "read", lambda path, real=schema.read: read.append(path) or real(path))
    listing.listed()
    assert read
