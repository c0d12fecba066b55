"""Units are kept once and whole."""

import pytest

from panformer.core.errors import InputError, PanformerError
from panformer.measure.store import Store


def test_a_unit_is_made_once(tmp_path):
    made = []
    with Store(tmp_path / "r.sqlite") as store:
        for _ in range(3):
            assert store.once("a", "s", lambda: made.append(1) or {"x": [1, 2.5]}) == {"x": [1, 2.5]}
    with Store(tmp_path / "r.sqlite") as store:
        assert store.get("a") == {"x": [1, 2.5]}
        assert store.get("b") is None
    assert made == [1]


def test_of_two_processes_that_make_a_unit_the_first_one_is_kept(tmp_path):
    with Store(tmp_path / "r.sqlite") as one, Store(tmp_path / "r.sqlite") as other:
        assert one.once("a", "s", lambda: other.once("a", "s", lambda: 1) + 1) == 1 == other.get("a")


def test_a_key_is_unique(tmp_path):
    with Store(tmp_path / "r.sqlite") as store:
        store.put("a", "s", 1)
        with pytest.raises(PanformerError, match="could not store a"):
            store.put("a", "s", 2)
        assert store.get("a") == 1


def test_a_unit_that_fails_leaves_nothing(tmp_path):
    with Store(tmp_path / "r.sqlite") as store:
        with pytest.raises(ZeroDivisionError):
            store.once("a", "s", lambda: 1 / 0)
        with pytest.raises(ValueError):
            store.put("b", "s", float("nan"))
        assert store.stage("s") == {}


def test_stages_in_order_with_their_seconds(tmp_path):
    with Store(tmp_path / "r.sqlite") as store:
        for i, key in enumerate("cab"):
            store.put(key, "s", i, 2.0)
        assert list(store.stage("s")) == ["c", "a", "b"]
        assert store.seconds() == {"s": 6.0}


def test_writes_survive_a_crash(tmp_path):
    """WAL and full synchronisation: what is stored is on disk before the next unit."""
    with Store(tmp_path / "r.sqlite") as store:
        assert store._db.execute("pragma journal_mode").fetchone()[0] == "wal"
        assert store._db.execute("pragma synchronous").fetchone()[0] == 2


def test_a_file_that_is_no_store_is_refused(tmp_path):
    (tmp_path / "r.sqlite").write_text("not a database, but long enough to be looked at by sqlite" * 20)
    with pytest.raises(InputError, match="cannot be used as a results store"):
        Store(tmp_path / "r.sqlite")
