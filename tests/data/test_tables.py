"""Tables: formats give the same data, tasks are guessed with a reason, faults that are no errors are warned of."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from panformer.core.errors import InputError
from panformer.data.base import Dataset
from panformer.data.open import open_data, records
from panformer.data.prepare import Rows, Text, load_prepare

RNG = np.random.default_rng(0)
PLAIN = [
    {"size": round(float(s), 3), "colour": c, "kind": k}
    for s, c, k in zip(
        RNG.normal(size=60), RNG.choice(["red", "green"], 60), RNG.choice(["cat", "dog"], 60), strict=True
    )
]


def csv(rows: list[dict[str, Any]], mark: str = ",") -> str:
    lines = [mark.join(rows[0])] + [mark.join("" if v is None else str(v) for v in r.values()) for r in rows]
    return "\n".join(lines) + "\n"


def opened(tmp_path: Path, content: str | bytes, name: str = "t.csv", **ask: Any) -> Dataset:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_data(str(path), **ask)


def same(a: Dataset, b: Dataset) -> bool:
    return all(
        torch.equal(x, y)
        for p, q in ((a.train, b.train), (a.test, b.test))
        for x, y in zip([*p.inputs, *p.targets], [*q.inputs, *q.targets], strict=True)
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.tsv", csv(PLAIN, "\t")),
        ("t.csv", csv(PLAIN, ";")),
        ("t.csv", "\ufeff" + csv(PLAIN).replace("\n", "\r\n")),
        ("t.csv", csv(PLAIN).replace("\n", "\r")),
        ("t.csv.gz", gzip.compress(csv(PLAIN).encode())),
        ("t.jsonl", "\n".join(json.dumps(r) for r in PLAIN)),
    ],
    ids=["tsv", "semicolons", "bom+crlf", "cr", "gzip", "jsonl"],
)
def test_every_text_format_gives_the_same(tmp_path: Path, name: str, content: str | bytes) -> None:
    # the content hash differs by format (texts and numbers), so the split may; targets and vocabulary may not
    plain, other = opened(tmp_path, csv(PLAIN), target="kind"), opened(tmp_path, content, name, target="kind")
    assert plain.task == other.task
    assert plain.facts["classes"] == other.facts["classes"]
    assert same(plain, other)


def test_parquet_gives_the_same(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.Table.from_pylist(PLAIN), tmp_path / "t.parquet")
    other = open_data(str(tmp_path / "t.parquet"), target="kind")
    assert same(opened(tmp_path, csv(PLAIN), target="kind"), other)
    assert other.train.source[0].endswith("t.parquet:1") or other.train.source[0].endswith("t.parquet:2")


def test_decimal_commas_are_numbers_in_semicolon_files(tmp_path: Path) -> None:
    data = opened(tmp_path, "a;y\n" + "".join(f"{i},5;{i * 3},25\n" for i in range(30)), target="y")
    assert data.task.kind == "regression"
    assert data.facts["target_mean"] == pytest.approx(np.mean([i * 3 + 0.25 for i in range(30)]), abs=10)


def test_a_lone_carriage_return_stays_in_its_cell(tmp_path: Path) -> None:
    data = opened(tmp_path, "t,y\n" + "".join(f"one\rtwo {i},{'ab'[i % 2]}\n" for i in range(20)), target="y")
    assert data.task.kind == "classification"
    assert len(data.train) + len(data.valid) + len(data.test) == 20


# ---- the task, and why --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "kind", "why"),
    [
        (["cat", "dog", "eel"], "classification", "holds 3 distinct values -> classification"),
        ([0, 1], "classification", "holds 2 distinct whole numbers -> classification"),
        (["true", "false"], "classification", "holds 2 distinct values -> classification"),
        ([1.5, 2.5], "regression", "holds 2 distinct numbers -> regression"),
        (list(range(25)), "regression", "holds 25 distinct numbers -> regression"),
    ],
)
def test_task_is_guessed_with_its_reason(tmp_path: Path, values: list[Any], kind: str, why: str) -> None:
    rows = [{"a": i / 7, "goal": values[i % len(values)]} for i in range(75)]
    data = opened(tmp_path, csv(rows), target="goal")
    assert data.task.kind == kind
    assert any(why in w and "'goal'" in w for w in data.facts["why"])


def test_asked_task_wins(tmp_path: Path) -> None:
    rows = [{"a": i / 7, "goal": i % 2} for i in range(40)]
    assert opened(tmp_path, csv(rows), target="goal", task="regression").task.measure == "rmse"
    assert opened(tmp_path, csv(rows), target="goal", task="classification").task.classes == ("0", "1")


def test_numeric_classes_are_in_order_of_size(tmp_path: Path) -> None:
    data = opened(tmp_path, csv([{"a": i, "y": (i % 3) * 5 + 1} for i in range(60)]), target="y")
    assert data.task.classes == ("1", "6", "11")


def test_target_is_found_by_its_name(tmp_path: Path) -> None:
    assert opened(tmp_path, csv([{"a": i, "Label": "xy"[i % 2]} for i in range(20)])).task.classes == ("x", "y")


# ---- what is warned of or left out --------------------------------------------------------------------------


def told(data: Dataset, *parts: str) -> bool:
    return any(all(p in line for p in parts) for line in data.facts["warnings"] + data.refused)


def test_missing_cells_are_counted_and_placed(tmp_path: Path) -> None:
    rows = [{"a": None if i in (4, 9) else i, "b": i % 7, "y": "pq"[i % 2]} for i in range(30)]
    data = opened(tmp_path, csv(rows), target="y")
    assert told(data, "column 'a'", "2 of 30", "line 6")
    assert data.facts["missing"] == {"a": 2}


def test_rows_without_target_are_left_out_by_name(tmp_path: Path) -> None:
    rows = [{"a": i, "y": "NA" if i == 3 else "pq"[i % 2]} for i in range(30)]
    data = opened(tmp_path, csv(rows), target="y")
    assert told(data, "t.csv:5", "'y'", "missing")
    assert data.facts["rows"] == {"read": 30, "used": 29, "refused": 1}


@pytest.mark.parametrize(
    ("column", "says"),
    [
        ([5] * 40, "is '5' in every row"),
        (["pq"[i % 2] for i in range(40)], "equals the target 'y' in every row (leakage)"),
        ([f"name{i}" for i in range(40)], "differs in every row"),
        ([None] * 40, "is empty"),
    ],
)
def test_useless_columns_are_left_out(tmp_path: Path, column: list[Any], says: str) -> None:
    rows = [{"a": i % 9, "odd": column[i], "y": "pq"[i % 2]} for i in range(40)]
    data = opened(tmp_path, csv(rows), target="y")
    assert told(data, "column 'odd'", says)
    assert data.task.columns == ("a",)


def test_row_numbers_are_left_out_only_under_such_a_name(tmp_path: Path) -> None:
    rows = [{"id": i + 1, "depth": i, "y": "pq"[i % 2]} for i in range(40)]
    data = opened(tmp_path, csv(rows), target="y")
    assert told(data, "column 'id' counts the rows")
    assert data.task.columns == ("depth",)


def test_a_renamed_target_is_a_leak_suspect(tmp_path: Path) -> None:
    rows = [{"a": i % 9, "code": "kl"[i % 2], "y": "pq"[i % 2]} for i in range(40)]
    data = opened(tmp_path, csv(rows), target="y")
    assert told(data, "column 'code'", "one to one", "leak")
    assert "code" in data.task.columns


def test_labels_that_differ_by_case_or_spaces(tmp_path: Path) -> None:
    labels = ["Cat", "cat", "dog", "big  cat", "big cat"]
    data = opened(tmp_path, csv([{"a": i, "y": labels[i % 5]} for i in range(60)]), target="y")
    assert told(data, "'Cat', 'cat'", "t.csv:3")
    assert told(data, "'big  cat', 'big cat'")
    assert len(data.task.classes) == 5  # warned of, not merged


def test_small_classes_are_left_out_by_name(tmp_path: Path) -> None:
    rows = [{"a": i, "y": "rare" if i < 2 else "pq"[i % 2]} for i in range(40)]
    data = opened(tmp_path, csv(rows), target="y")
    assert told(data, "class 'rare' has 2 different rows")
    assert told(data, "t.csv:2: class 'rare' is too small")
    assert data.task.classes == ("p", "q")


def test_max_rows_is_a_seeded_choice(tmp_path: Path) -> None:
    content = csv([{"a": i, "y": "pq"[i % 2]} for i in range(100)])
    few = opened(tmp_path, content, target="y", max_rows=30)
    assert len(few.train) + len(few.valid) + len(few.test) == 30
    assert few.facts["rows_not_sampled"] == 70
    assert few.train.source == opened(tmp_path, content, target="y", max_rows=30).train.source


# ---- the encoding of rows -----------------------------------------------------------------------------------


def test_rows_are_numbers_and_category_ids(tmp_path: Path) -> None:
    rows = [
        {
            "n": None if i == 0 else i,
            "c": None if i == 1 else "uvw"[i % 3],
            "day": f"2024-01-{i % 28 + 1:02d}",
            "y": i / 3,
        }
        for i in range(60)
    ]
    data = opened(tmp_path, csv(rows), target="y", task="regression")
    prepare = data.prepare
    assert isinstance(prepare.input, Rows)
    assert data.task.columns == ("n", "c", "day")
    assert (data.task.reads, data.task.channels, data.task.vocab) == ("values", 2, 1 + 1 + 4 + 1)
    n, c, day = prepare.input.columns
    x = prepare.encode({"n": "12", "c": "v", "day": "2024-01-05"})
    assert x.shape == (3, 2)
    assert x[:, 1].tolist() == [0, c.ids["v"], 0]
    assert x[0, 0] == pytest.approx((12 - n.mean) / n.std)
    assert x[1, 0] == 0
    strange = prepare.encode({"n": None, "c": "never seen", "day": None})
    assert strange.tolist() == [[0, n.missing], [0, c.missing], [0, day.missing]]
    ids = [n.missing, c.missing, *c.ids.values(), day.missing]
    assert sorted(ids) == list(range(1, data.task.vocab))
    train = torch.stack(list(data.train.inputs))
    seen = train[train[:, 0, 1] == 0, 0, 0]
    assert seen.mean().abs() < 1e-5
    assert seen.std(correction=0) == pytest.approx(1, abs=1e-5)


def test_new_rows_are_encoded_as_in_training(tmp_path: Path) -> None:
    rows = [{"n": i * i % 11, "c": "uvw"[i % 3], "y": "pq"[i % 2]} for i in range(60)]
    data = opened(tmp_path, csv(rows), target="y")
    prepare = load_prepare(json.loads(json.dumps(data.prepare.dump())))
    assert prepare == data.prepare
    (tmp_path / "new.csv").write_text(csv([{"extra": 1, "c": r["c"], "n": r["n"]} for r in rows]))
    new = {source.rpartition(":")[2]: prepare.encode(r) for source, r in records(str(tmp_path / "new.csv"), prepare)}
    assert len(new) == 60
    for part in (data.train, data.valid, data.test):
        for x, source in zip(part.inputs, part.source, strict=True):
            assert torch.equal(x, new[source.rpartition(":")[2]])


def test_answers_are_in_the_persons_terms(tmp_path: Path) -> None:
    rows = [{"a": i, "y": "pqr"[i % 3], "price": 100 + 3 * i} for i in range(60)]
    classes = opened(tmp_path, csv(rows), target="y").prepare
    answer = classes.decode(torch.tensor([0.0, 3.0, 1.0]))
    assert answer["label"] == "q"
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    assert list(answer["probabilities"]) == ["p", "q", "r"]
    price = opened(tmp_path, csv(rows), target="price")
    for y, source in zip(price.train.targets, price.train.source, strict=True):
        line = int(source.rpartition(":")[2])
        assert price.prepare.decode(y) == pytest.approx(100 + 3 * (line - 2), rel=1e-5)
        assert price.prepare.decode(y[None]) == price.prepare.decode(y)


# ---- text in tables -----------------------------------------------------------------------------------------

REVIEWS = [
    {"review": f"this film, number {i}, was {'very good' if i % 2 else 'rather bad'} å", "y": i % 2} for i in range(40)
]


def quoted(rows: list[dict[str, Any]]) -> str:
    return "\n".join([",".join(rows[0]), *(",".join(f'"{v}"' for v in r.values()) for r in rows)])


def test_a_text_column_is_read_as_bytes(tmp_path: Path) -> None:
    data = opened(tmp_path, quoted(REVIEWS), target="y")
    assert (data.task.kind, data.task.reads, data.task.vocab) == ("classification", "tokens", 258)
    prepare = data.prepare
    assert isinstance(prepare.input, Text)
    ids = prepare.encode("på")
    assert ids.tolist() == [*"på".encode(), 256]
    assert prepare.input.text(ids.tolist()) == "på"
    lengths = [len(x) for x in data.train.inputs]
    assert data.task.max_length >= max(lengths) > min(lengths)
    assert data.facts["lengths"]["max"] == data.task.max_length


def test_new_texts_come_from_tables_and_from_files(tmp_path: Path) -> None:
    data = opened(tmp_path, quoted(REVIEWS), target="y")
    (tmp_path / "n.csv").write_text("review\n" + '"a film, a film"\n')
    (tmp_path / "n.txt").write_text("a film, a film")
    found = [data.prepare.encode(r) for n in ("n.csv", "n.txt") for _, r in records(str(tmp_path / n), data.prepare)]
    assert torch.equal(found[0], found[1])


def test_text_beside_other_columns_is_written_out(tmp_path: Path) -> None:
    rows = [{"stars": i % 5, **r} for i, r in enumerate(REVIEWS)]
    data = opened(tmp_path, quoted(rows), target="y")
    assert any("written out as lines" in w for w in data.facts["why"])
    text = data.prepare.input.text(data.prepare.encode({"review": "so so", "stars": "3"}).tolist())
    assert text == "stars: 3\nreview: so so"


def test_short_words_alone_are_text(tmp_path: Path) -> None:
    rows = [{"smiles": "C" * (i + 1) + "O", "y": i % 2} for i in range(30)]
    assert opened(tmp_path, csv(rows), target="y").task.reads == "tokens"


def test_long_texts_get_a_bpe_of_the_training_part(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="BPE needs tokenizers")
    words = "the quick brown fox jumps over a lazy dog while seven wizards quietly brew potions".split()
    rng = np.random.default_rng(0)
    rows = [{"t": " ".join(rng.choice(words, 120)), "y": i % 2} for i in range(500)]
    data = opened(tmp_path, csv(rows), target="y")
    assert any("-> a BPE trained on them" in w for w in data.facts["why"])
    assert data.task.vocab == data.prepare.input.vocab > 258
    assert all(int(x[-1]) == data.task.vocab - 2 for x in data.train.inputs)
    again = load_prepare(json.loads(json.dumps(data.prepare.dump())))
    text = "the lazy fox, 7 × å\n\t!"
    assert torch.equal(again.encode(text), data.prepare.encode(text))
    assert again.input.text(again.encode(text).tolist()) == text
    assert opened(tmp_path, csv(rows), target="y").prepare == data.prepare, "training a BPE must be deterministic"
    assert opened(tmp_path, csv(rows), target="y", tokens="bytes").task.vocab == 258


def test_long_inputs_are_named_and_cut(tmp_path: Path) -> None:
    rows = [*REVIEWS, {"review": "long " * 200, "y": 1}]
    data = opened(tmp_path, quoted(rows), target="y", max_length=100)
    assert told(data, "1 inputs are over 10 times", "t.csv:42", "1,000")
    assert told(data, "longer than max_length 100")
    assert data.task.max_length == 100
    assert len(data.prepare.encode("x" * 999)) == 100


def test_one_text_column_without_target_is_language(tmp_path: Path) -> None:
    data = opened(tmp_path, "\n".join(json.dumps({"text": r["review"]}) for r in REVIEWS), "t.jsonl")
    assert data.task.kind == "language"
    assert data.train.targets is None


# ---- anything at all ----------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(st.binary(max_size=200), st.text(alphabet='ab1,2.;\n"\t -e0', max_size=200).map(str.encode)),
    st.booleans(),
)
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path_factory: Any, content: bytes, lines: bool) -> None:
    path = tmp_path_factory.mktemp("any") / ("x.jsonl" if lines else "x.csv")
    path.write_bytes(content)
    told = "read"
    try:
        open_data(str(path), max_rows=50)
    except InputError as fault:
        told = str(fault)
    assert len(told.splitlines()) == 1
