"""Every bad input is refused in one line that names the culprit, before anything is built."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from panformer.core.errors import InputError
from panformer.data.open import open_data, records
from panformer.data.prepare import load_prepare


class Case(NamedTuple):
    name: str
    make: Callable[[Path], Any]  # writes the input below a folder; its path, or the folder itself when None
    says: tuple[str, ...]  # what the message must name
    ask: dict[str, Any] = {}


def text(name: str, content: str | bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


def npz(**arrays: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        np.savez(folder / "a.npz", **arrays)
        return folder / "a.npz"

    return make


def npy(array: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        np.save(folder / "a.npy", array, allow_pickle=True)
        return folder / "a.npy"

    return make


def folder(files: dict[str, str | bytes]) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        (root / "set").mkdir()
        for name, content in files.items():
            text(f"set/{name}", content)(root)
        return root / "set"

    return make


ROWS = "".join(f"{i},{i * i % 7},{'ab'[i % 2]}\n" for i in range(20))
GOOD = "u,v,kind\n" + ROWS
DAYS = [f"2024-01-{d:02d}" for d in range(1, 29)]
SERIES = "date,load\n" + "".join(f"{d},{i % 7}\n" for i, d in enumerate(DAYS))


def with_line(content: str, line: int, new: str) -> str:
    lines = content.splitlines()
    lines[line - 1] = new
    return "\n".join(lines) + "\n"


CASES = [
    Case("absent file", lambda f: f / "no.csv", ("no.csv", "no such file", "digits")),
    Case("empty file", text("e.csv", ""), ("e.csv", "empty")),
    Case("blank file", text("e.csv", "\n \n"), ("e.csv", "empty")),
    Case("header only", text("h.csv", "a,b\n"), ("h.csv", "no rows", "'a', 'b'")),
    Case("no header", text("n.csv", "1,2\n3,4\n"), ("n.csv", "line 1", "name the columns")),
    Case("a name twice", text("d.csv", "a,a,b\n1,2,3\n"), ("d.csv", "line 1", "'a'", "more than once")),
    Case("ragged row", text("r.csv", with_line(GOOD, 7, "5,a")), ("r.csv", "line 7", "2 cells", "3")),
    Case("open quote", text("q.csv", GOOD + '1,2,"a\n'), ("q.csv", "line 22", "quotes")),
    Case("bad byte", text("l.csv", b"a,kind\n1,x\n2,caf\xe9\n"), ("l.csv", "line 3", "byte 16", "0xe9", "UTF-8")),
    Case("utf-16", text("u.csv", "a,b\n1,2\n".encode("utf-16")), ("u.csv", "UTF-16", "ff fe")),
    Case("binary", text("b.csv", b"a,b\n1,\x00\n"), ("b.csv", "line 2", "zero byte")),
    Case("broken gzip", text("g.csv.gz", gzip.compress(GOOD.encode())[:30]), ("g.csv.gz", "gzip")),
    Case("not gzip", text("g.csv.gz", GOOD), ("g.csv.gz", "gzip")),
    Case("unknown ending", text("x.docx", "hello"), ("x.docx", "'.docx'", "csv", "npz")),
    Case("missing target", text("m.csv", GOOD), ("m.csv", "'knd'", "did you mean 'kind'", "u, v"), {"target": "knd"}),
    Case("no target told", text("m.csv", GOOD), ("m.csv", "which column", "u, v, kind")),
    Case("empty target", text("t.csv", "a,y\n1,\n2,\n3,\n"), ("t.csv", "'y'", "empty"), {"target": "y"}),
    Case(
        "one class", text("o.csv", "a,y\n" + "".join(f"{i},cat\n" for i in range(9))),
        ("o.csv", "'y'", "one class", "'cat'"),
    ),
    Case("constant target", text("c.csv", "a,y\n" + "".join(f"{i},5\n" for i in range(9))), ("c.csv", "'y'", "'5'")),
    Case(
        "constant regression", text("c.csv", "a,y\n" + "".join(f"{i},5\n" for i in range(9))),
        ("c.csv", "'y'", "every row"), {"task": "regression"},
    ),
    Case(
        "classes too small", text("s.csv", "a,y\n1,cat\n2,cat\n3,cat\n4,dog\n5,dog\n6,eel\n"),
        ("s.csv", "'y'", "too small", "'dog', 'eel'"),
    ),
    Case(
        "classes of copies",
        text("s.csv", "a,y\n" + "1,cat\n" * 9 + "2,dog\n" * 9),
        ("s.csv", "'y'", "too small", "'cat'"),
    ),
    Case(
        "names as target", text("i.csv", "a,y\n" + "".join(f"{i},n{i}\n" for i in range(60))),
        ("'y'", "60", "names rows"),
    ),
    Case(
        "numbers as classes", text("i.csv", "a,y\n" + "".join(f"{i},{i}.5\n" for i in range(60))),
        ("'y'", "60", "regression"), {"task": "classification"},
    ),
    Case(
        "words as numbers", text("w.csv", GOOD),
        ("'kind'", "'a'", "numbers"), {"target": "kind", "task": "regression"},
    ),
    Case(
        "inf cell", text("f.csv", with_line(GOOD, 5, "inf,1,a")),
        ("f.csv", "line 5", "'u'", "inf"), {"target": "kind"},
    ),
    Case(
        "stray word", text("f.csv", with_line(GOOD, 9, "7,x7,a")),
        ("line 9", "'v'", "'x7'", "number"), {"target": "kind"},
    ),
    Case("few rows", text("f.csv", "a,y\n1,2.5\n2,3.5\n"), ("f.csv", "2 different rows", "3")),
    Case("nothing to read", text("f.csv", "y\n" + "a\nb\n" * 5), ("f.csv", "no column is left", "'y'")),
    Case(
        "only a leak", text("f.csv", "y,z\n" + "a,a\nb,b\n" * 5), ("f.csv", "no column is left", "'y'"), {"target": "y"}
    ),
    Case(
        "unknown task", text("m.csv", GOOD),
        ("'clasification'", "did you mean 'classification'"), {"task": "clasification"},
    ),
    Case("unknown tokens", text("m.csv", GOOD), ("'words'", "bytes", "bpe"), {"tokens": "words"}),
    Case("zero rows asked", text("m.csv", GOOD), ("max_rows is 0", "3"), {"max_rows": 0}),
    Case(
        "horizon of rows", text("m.csv", GOOD),
        ("horizon=3",), {"target": "kind", "task": "classification", "horizon": 3},
    ),
    Case("image size of rows", text("m.csv", GOOD), ("image_size=9", "m.csv"), {"target": "kind", "image_size": 9}),
    # JSON lines
    Case("not JSON", text("j.jsonl", '{"a": 1}\n{"a": }\n'), ("j.jsonl", "line 2", "not JSON", "column 7")),
    Case("JSON list", text("j.jsonl", '{"a": 1}\n[1, 2]\n'), ("j.jsonl", "line 2", "object", "[1, 2]")),
    Case("nested cell", text("j.jsonl", '{"a": 1}\n{"a": [3]}\n'), ("j.jsonl", "line 2", "'a'", "list")),
    Case("JSON infinity", text("j.jsonl", '{"a": 1, "y": 1}\n{"a": Infinity, "y": 2}\n'), ("line 2", "'a'", "inf")),
    # NumPy
    Case("object array", npz(x=np.array([{}, 1], object)), ("a.npz", "Python objects")),
    Case("no x", npz(foo=np.ones(3)), ("a.npz", "named x", "'foo'")),
    Case("two x", npz(x=np.ones(3), data=np.ones(3)), ("a.npz", "'x', 'data'")),
    Case("y too short", npz(x=np.ones((6, 2)), y=np.arange(5)), ("a.npz", "y has shape (5,)", "6")),
    Case("nan in x", npz(x=np.array([[1, 2], [3, np.nan]]), y=np.arange(2)), ("a.npz", "x[1, 1]", "nan")),
    Case("inf in y", npz(x=np.ones((2, 2)), y=np.array([0, np.inf])), ("a.npz", "y[1]", "inf")),
    Case("bad lengths", npz(x=np.ones((6, 2)), y=np.arange(2), lengths=np.array([3, 4])), ("a.npz", "sum 7", "(6, 2)")),
    Case("text array", npz(x=np.array(["a", "b"]), y=np.arange(2)), ("a.npz", "x has type", "numbers")),
    Case("flat x", npz(x=np.ones(6), y=np.arange(6)), ("a.npz", "shape (6,)")),
    Case("cut npz", text("a.npz", b"PK\x03\x04 not a zip"), ("a.npz", "NumPy")),
    Case("not npy", text("a.npy", "hello"), ("a.npy",)),
    Case("3-D series", npy(np.ones((4, 3, 2))), ("a.npy", "(4, 3, 2)", "no y")),
    Case(
        "no labels", npy(np.random.default_rng(0).normal(size=(50, 2))),
        ("a.npy", "no array named y"), {"task": "regression"},
    ),
    Case("inf series", npy(np.r_[np.arange(40.0), np.inf]), ("a.npy, 40", "'x0'", "inf")),
    # series
    Case("constant series", npy(np.ones(99)), ("a.npy", "'x0'", "constant")),
    Case("short series", text("s.csv", "date,load\n2024-01-01,1\n2024-01-02,2\n2024-01-03,5\n"), ("s.csv", "3 steps")),
    Case("long horizon", text("s.csv", SERIES), ("horizon 20", "28 steps", "keeps 4"), {"horizon": 20}),
    Case("long lookback", text("s.csv", SERIES), ("lookback 25", "28 steps"), {"lookback": 25}),
    Case("long season", text("s.csv", SERIES), ("season 40",), {"season": 40}),
    Case("a time twice", text("s.csv", SERIES + "2024-01-05,3\n"), ("s.csv", "line 30", "'2024-01-05'", "line 6")),
    Case("no time", text("s.csv", with_line(SERIES, 4, ",3")), ("s.csv", "line 4", "'date'")),
    Case(
        "bad date", text("s.csv", with_line(SERIES, 4, "2024-02-31,3")),
        ("s.csv", "line 4", "'date'", "'2024-02-31'"),
    ),
    Case("no time column", text("m.csv", GOOD), ("m.csv", "column of times", "u, v, kind"), {"task": "forecasting"}),
    Case("no channel", text("s.csv", SERIES), ("'lood'", "did you mean 'load'"), {"target": "lood"}),
    # text, folders
    Case("short text", text("t.txt", "hello"), ("t.txt", "5 bytes", "200")),
    Case("labels of a text", text("t.txt", "hello " * 99), ("t.txt", "classification"), {"task": "classification"}),
    Case("bad byte in a text", text("t.txt", b"fine\n" * 99 + b"\xff\n"), ("t.txt", "line 100", "0xff")),
    Case("empty folder", folder({}), ("set", "no files")),
    Case("strange folder", folder({"a/x.bin": b"1"}), ("set", "'.bin'")),
    Case("no class folders", folder({f"{i}.png": b"1" for i in range(4)}), ("set", "no subfolders", "4 image files")),
    Case("splits as classes", folder({"train/a.png": b"1", "test/b.png": b"1"}), ("'test', 'train'", "splits")),
    Case("broken pictures", folder({"a/1.png": b"1", "b/2.png": b"2"}), ("a/1.png", "picture"), {}),
    Case("broken sound", folder({"a/1.wav": b"RIFFxxxx", "b/2.wav": b"2"}), ("a/1.wav", "sound"), {}),
    Case("target of a folder", folder({"a/1.png": b"1"}), ("set", "target='y'"), {"target": "y"}),
    Case("one picture", text("p.png", b"1"), ("p.png", "folder")),
    Case("regression folder", folder({"a/1.png": b"1"}), ("regression", "image"), {"task": "regression"}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_bad_input_is_named_in_one_line(case: Case, tmp_path: Path) -> None:
    if "picture" in case.says:
        pytest.importorskip("PIL", reason="pictures need Pillow")
    if "sound" in case.says:
        pytest.importorskip("soundfile", reason="sound needs soundfile")
    source = case.make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as fault:
        open_data(str(source), **case.ask)
    message = str(fault.value)
    absent = [part for part in case.says if part not in message]
    assert not absent, f"{message!r} does not name {absent}"
    assert "\n" not in message
    assert fault.value.exit_code == 2
    assert sorted(tmp_path.rglob("*")) == before, "something was written"


def test_there_are_at_least_forty_cases() -> None:
    assert len({c.name for c in CASES}) == len(CASES) >= 40


def test_parquet_faults(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    broken = text("p.parquet", "PAR1 and no more")(tmp_path)
    with pytest.raises(InputError, match=r"p\.parquet: is not a whole Parquet file"):
        open_data(str(broken))
    parquet.write_table(pa.table({"a": [[1], [2]], "y": [1, 2]}), broken)
    with pytest.raises(InputError, match="column 'a' has type list"):
        open_data(str(broken))


# ---- new input for a trained model --------------------------------------------------------------------------


def _new(tmp_path: Path, old: str, name: str, new: str, **ask: Any) -> str:
    """The message that `new` input gives to a preparation fitted on `old`."""
    prepare = open_data(str(text("old.csv", old)(tmp_path)), **ask).prepare
    source = text(name, new)(tmp_path)
    with pytest.raises(InputError) as fault:
        _ = [prepare.encode(record) for _, record in records(str(source), prepare)]
    assert "\n" not in str(fault.value)
    return str(fault.value)


def test_new_rows_lack_a_column(tmp_path: Path) -> None:
    message = _new(tmp_path, GOOD, "n.csv", "u,w\n1,2\n", target="kind")
    assert "n.csv: lacks column 'v'" in message


def test_new_rows_hold_words_for_numbers(tmp_path: Path) -> None:
    message = _new(tmp_path, GOOD, "n.csv", "u,v\n1,2\n3,many\n", target="kind")
    assert "'v' holds 'many'" in message


def test_new_series_is_too_short(tmp_path: Path) -> None:
    message = _new(tmp_path, SERIES, "n.csv", "date,load\n2024-03-01,1\n2024-03-02,2\n2024-03-03,2\n", lookback=5)
    assert "holds 3 steps" in message
    assert "looks back over 5" in message


def test_new_input_of_another_kind(tmp_path: Path) -> None:
    assert "n.txt: the model reads rows" in _new(tmp_path, GOOD, "n.txt", "hello", target="kind")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.update(extra=1), "extra"),
        (lambda t: t["input"].pop("kind"), "input"),
        (lambda t: t["input"]["columns"][0].update(std="wide"), "std"),
        (lambda t: t["output"].update(kind="classs"), "output"),
        (lambda t: t["output"].pop("labels"), "labels"),
        (lambda t: t.update(output={"kind": "ids"}), "output ids does not go with input rows"),
    ],
)
def test_a_damaged_preparation_names_its_key(tmp_path: Path, change: Callable[[Any], Any], says: str) -> None:
    data = open_data(str(text("g.csv", GOOD)(tmp_path)), target="kind")
    tree = json.loads(json.dumps(data.prepare.dump()))
    change(tree)
    with pytest.raises(InputError, match=says):
        load_prepare(tree)
