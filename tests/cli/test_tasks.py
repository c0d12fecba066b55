"""`panformer tasks` lists what can be compared on."""

import json

import pytest

from panformer.claims import suites
from panformer.cli.main import main


def run(capsys, *args):
    with pytest.raises(SystemExit) as end:
        main(["tasks", *args])
    out = capsys.readouterr()
    return end.value.code, out.out, out.err


def test_all_suites_are_listed(capsys):
    code, out, _ = run(capsys, "--json")
    found = json.loads(out)
    assert code == 0 and [s["suite"] for s in found] == list(suites.SUITES)
    code, out, _ = run(capsys)
    assert code == 0 and all(e.name in out for s in suites.SUITES.values() for e in s.entries)


def test_one_task_shows_an_example(capsys):
    code, out, _ = run(capsys, "mqar")
    assert code == 0 and "panformer compare mqar" in out
    first, other = (json.loads(run(capsys, "mqar", "--seed", str(s), "--json")[1]) for s in (0, 1))
    assert first["example"]["shape"] == [12] and first["example"] != other["example"]


def test_chance_is_told_once_or_per_length(capsys):
    assert json.loads(run(capsys, "addition", "--json")[1])["chance"] == [0.199, 0.167, 0.144]
    told = {name: " ".join(run(capsys, name)[1].split()) for name in ("addition", "mqar", "lagged")}
    assert "a constant answer reaches 0.199, 0.167, 0.144 " in told["addition"]
    assert "a constant answer reaches 0.0312 " in told["mqar"] and "constant answer" not in told["lagged"]


def test_data_sets_are_listed_with_whose_they_are(capsys):
    from panformer.data.builtin import BUILTIN

    code, out, _ = run(capsys, "--data", "--json")
    found = json.loads(out)
    assert code == 0 and [d["name"] for d in found] == list(BUILTIN)
    assert all(d["licence"] and d["origin"] and d["citation"] and d["split"] for d in found)
    code, out, _ = run(capsys, "--data")
    assert code == 0 and all(d["licence"] in out and d["sha256"] in out and d["install"] in out for d in found)


def test_an_unknown_name_is_refused_with_the_known_ones(capsys):
    code, _, err = run(capsys, "mqarr")
    assert code == 2 and "did you mean 'mqar'" in err and "lra" in err
