"""Tables as people write them: units, marks and dates, and warnings of what may be read otherwise than meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from panformer.core.errors import InputError
from panformer.data.base import Dataset
from panformer.data.open import open_data, records
from panformer.data.tables import number, read_table, when

RNG = np.random.default_rng(0)
PLAIN: list[dict[str, Any]] = [
    {"size": round(float(s), 3), "colour": ["red", "green"][i % 2], "kind": ["cat", "dog"][i * i % 3 % 2]}
    for i, s in enumerate(RNG.normal(size=60))
]


def csv(rows: list[dict[str, Any]]) -> str:
    return "\n".join([",".join(rows[0]), *(",".join(map(str, r.values())) for r in rows)]) + "\n"


def opened(tmp_path: Path, content: str, **ask: Any) -> Dataset:
    (tmp_path / "t.csv").write_text(content, encoding="utf-8")
    return open_data(str(tmp_path / "t.csv"), **ask)


@pytest.mark.parametrize(
    ("name", "written", "read"),
    [
        ("t.csv", ['"1,234.5"', '"12,000"', "7.25"], [1234.5, 12000, 7.25]),
        ("t.csv", ["12.5%", "3%", "-1 %"], [12.5, 3, -1]),
        ("t.csv", ["$3.50", "-$2", '"$1,000"'], [3.5, -2, 1000]),
        ("t.csv", ["?", "2", "-"], [None, 2, None]),
        ("t.csv;", ["1.234,50 €", "7,5 €", "12 €"], [1234.5, 7.5, 12]),
        ("t.csv;", ["1.234", "1.5", "7"], [1.234, 1.5, 7]),
        ("T.CSV", ["1", "2", "3"], [1, 2, 3]),
    ],
)
def test_numbers_as_people_write_them(tmp_path: Path, name: str, written: list[str], read: list[float | None]) -> None:
    mark = ";" if name.endswith(";") else ","
    path = tmp_path / name.strip(";")
    path.write_text(mark.join(("x", "y")) + "\n" + "".join(f"{c}{mark}a\n" for c in written), encoding="utf-8")
    table = read_table(path)
    assert [number(c) for c in table.columns["x"]] == read


@pytest.mark.parametrize("written", [["+", "-", "+"], ["?", "-"], ["1,23", "1,2"], ["5%", "7"], ["$a", "$b"]])
def test_marks_and_signs_of_other_columns_stay(tmp_path: Path, written: list[str]) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,y\n" + "".join(f'"{c}",a\n' for c in written), encoding="utf-8")
    assert read_table(path).columns["x"] == written


def test_a_mark_of_a_missing_number_is_one_in_new_rows_too(tmp_path: Path) -> None:
    data = opened(tmp_path, csv(PLAIN), target="kind")
    (tmp_path / "new.csv").write_text("size,colour\n?,red\n")
    ((_, record),) = records(str(tmp_path / "new.csv"), data.prepare)
    assert data.prepare.encode(record)[0].tolist() == [0, 1]


def test_dates_with_dots_are_times(tmp_path: Path) -> None:
    rows = "".join(f"{1 + i % 28}.{1 + i // 28:02d}.2024,{i % 7}\n" for i in range(84))
    assert opened(tmp_path, "day,sold\n" + rows, horizon=2).task.kind == "forecasting"
    assert when("31.12.2024") == when("2024-12-31")
    assert when("12.31.2024") is None


def test_words_that_are_read_as_missing_are_named(tmp_path: Path) -> None:
    rows = "".join(f"{i},{'None' if i % 3 == 0 else 'ab'[i % 2]}\n" for i in range(60))
    data = opened(tmp_path, "x,kind\n" + rows, target="kind")
    assert (
        "column 'kind': 20 of 60 cells are missing (first: line 2; 'None' is read as missing)" in data.facts["warnings"]
    )


@pytest.mark.parametrize(
    ("column", "says"),
    [
        ([f"{1 + i % 12}/{1 + i % 28}/2024" for i in range(60)], "holds dates that are not read as such ('1/1/2024')"),
        ([f"word {i // 2 % 40}" for i in range(60)][::-1], None),
        ([f"word {i % 40}" for i in range(60)], "holds 40 different words in 60 rows"),
        ([i % 9 if i % 3 else f"w{i % 2}" for i in range(60)], "though 40 of 60 cells are numbers (not 'w0', 'w1')"),
    ],
)
def test_categories_that_may_be_something_else_are_told(tmp_path: Path, column: list[Any], says: str | None) -> None:
    rows = [{**row, "more": c} for row, c in zip(PLAIN, column, strict=True)]
    told = [
        w
        for w in opened(tmp_path, csv(rows), target="kind").facts["warnings"]
        if "'more' h" in w or "'more' is read" in w
    ]
    assert len(told) == (says is not None)
    assert says is None or says in told[0]


def test_a_number_that_tells_the_target_is_a_leak_suspect(tmp_path: Path) -> None:
    coded = [{**row, "code": 1 if row["kind"] == "cat" else 2} for row in PLAIN]
    told = opened(tmp_path, csv(coded), target="kind").facts["warnings"]
    assert "column 'code' tells the target 'kind' one to one: is it a leak?" in told
    warm = [{**row, "celsius": (row["size"] - 32) / 1.8} for row in PLAIN]
    told = opened(tmp_path, csv(warm), target="size").facts["warnings"]
    assert "column 'celsius' lies on one straight line with the target 'size': is it a leak?" in told
    near = [{**row, "near": row["size"] + 0.01 * (i % 3)} for i, row in enumerate(PLAIN)]
    assert not any("leak" in w for w in opened(tmp_path, csv(near), target="size").facts["warnings"])


def test_outliers_are_named(tmp_path: Path) -> None:
    rows = [dict(row) for row in PLAIN]
    rows[7]["size"] = 1e6
    told = opened(tmp_path, csv(rows), target="size").facts["warnings"]
    assert any("t.csv:9, 1e+06" in w and "target 'size': 1 of 60" in w for w in told), told
    told = opened(tmp_path, csv(rows), target="kind").facts["warnings"]
    assert any("column 'size': 1 of 60 numbers" in w and "line 9" in w for w in told), told
    assert not any("middle half" in w for w in opened(tmp_path, csv(PLAIN), target="size").facts["warnings"])


def test_rows_with_times_are_warned_of(tmp_path: Path) -> None:
    rows = [{"day": f"2024-01-{1 + i % 28:02d}", **row} for i, row in enumerate(PLAIN)]
    told = opened(tmp_path, csv(rows), target="kind").facts["warnings"]
    assert any("'day' holds times, and rows are dealt" in w for w in told)


def test_words_under_a_targets_name_are_classes_though_there_are_times(tmp_path: Path) -> None:
    rows = "".join(f"{1950 + i},{i * i % 17},{'ab'[i % 2]}\n" for i in range(60))
    assert opened(tmp_path, "year,x,label\n" + rows).task.kind == "classification"


def test_an_empty_name_is_no_folder() -> None:
    with pytest.raises(InputError, match="an empty name: no such file"):
        open_data("")
