"""All papers are listed from day one, and a row's status is computed from files."""

import json
import subprocess
import sys

import pytest

from panformer.core.errors import InputError
from panformer.papers import catalogue, schema

AREAS = {
    "attention": 49, "adaptation": 40, "vision": 40, "generation": 36, "science": 33, "recurrent": 32, "theory": 31,
    "layer": 26, "quantization": 25, "audio_codec": 22, "reduction": 18, "position": 18, "survey": 17, "parallel": 15,
    "foundation": 14, "compression": 13, "multimodal": 10, "benchmark": 9,
}  # fmt: skip
FOUNDATION = {
    11: "modernbert", 51: "fnet", 96: "poolformer", 110: "ponet", 138: "bert", 157: "fire", 198: "switch", 245: "nope",
    249: "roformer", 311: "multi-query-attention", 327: "repeat-after-me", 330: "mamba", 335: "linear-attention",
    401: "itransformer",
}  # fmt: skip
ENTRY = """
id: 51
claim: "a test"
model: {width: 8, schedule: [{mixer: {use: attention, heads: 2}}]}
checks:
  - {judge: beats, task: {use: induction}, train: {steps: 2}, control: {}, expect: {margin: 0.1}}
"""


def write(folder, text, name="fnet", family="mixers"):
    (folder / family).mkdir(exist_ok=True)
    path = folder / family / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def row(folder, slug="fnet"):
    return catalogue.find(slug, catalogue.rows(folder))


def test_every_paper_is_listed_once():
    rows = catalogue.rows()
    assert [r.id for r in rows] == list(range(448)), "ids are 0 to 447, in order"
    assert len({r.slug for r in rows}) == 448, "slugs are unique"
    counts = {}
    for r in rows:
        counts[r.area] = counts.get(r.area, 0) + 1
    assert counts == AREAS


def test_slugs_are_short_and_readable():
    bad = [
        r.slug
        for r in catalogue.rows()
        if len(r.slug) > 48 or not set(r.slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    ]
    assert not bad, bad


def test_the_foundation_rows_have_their_well_known_names():
    assert {r.id: r.slug for r in catalogue.rows() if r.area == "foundation"} == FOUNDATION


def test_rows_hold_no_abstract():
    assert not any("abstract" in json.loads(line) for line in (catalogue.HERE / "index.jsonl").open(encoding="utf-8"))


def test_every_written_entry_loads_and_resolves():
    faults = [r.fault for r in catalogue.rows() if r.fault]
    assert not faults, faults[0]


def test_every_family_has_a_folder_name():
    assert all(r.family.isidentifier() for r in catalogue.rows())


# ---- status


def test_no_entry_is_planned(tmp_path):
    assert (row(tmp_path).status, row(tmp_path).verdict, row(tmp_path).family) == ("planned", None, "mixers")


def test_an_entry_that_resolves_is_built(tmp_path):
    write(tmp_path, ENTRY, family="models")
    assert (row(tmp_path).status, row(tmp_path).verdict, row(tmp_path).family) == ("built", None, "models")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("attention", "atention", "mixers/atention"),
        ("induction", "inductoin", "claims/tasks/inductoin"),
        ("id: 51", "id: 52", "id is 52"),
        ("id: 51", "id: 51\nadds: [mixers/nothing]", "mixers/nothing"),
        ("id: 51", "id: 51\nstatus: checked", "unknown key 'status'"),
        ("id: 51", "id: 51\nverdict: upheld", "unknown key 'verdict'"),
        ("id: 51", "id: 51\nid: 51", "given twice"),
        ("margin", "margn", "'margin'"),
    ],
)
def test_a_broken_entry_is_planned_and_says_why(tmp_path, old, new, says):
    write(tmp_path, ENTRY.replace(old, new))
    assert row(tmp_path).status == "planned" and says in row(tmp_path).fault, row(tmp_path).fault
    assert "\n" not in row(tmp_path).fault


def evidence(folder, **change):
    entry = row(folder).entry
    found = {"verdict": "upheld", "spec_hash": entry.spec_hash, "claim_hash": entry.claim_hash, **change}
    (folder / "evidence").mkdir(exist_ok=True)
    (folder / "evidence" / "fnet.json").write_text(json.dumps(found))


def test_evidence_of_this_entry_makes_it_checked(tmp_path):
    write(tmp_path, ENTRY)
    evidence(tmp_path)
    assert (row(tmp_path).status, row(tmp_path).verdict) == ("checked", "upheld")


@pytest.mark.parametrize(
    ("old", "new"),
    [("margin: 0.1", "margin: 0.05"), ("a test", "another"), ("width: 8", "width: 16"), ("steps: 2", "steps: 3")],
)
def test_evidence_goes_stale_when_the_entry_changes(tmp_path, old, new):
    write(tmp_path, ENTRY)
    evidence(tmp_path)
    write(tmp_path, ENTRY.replace(old, new))
    assert (row(tmp_path).status, row(tmp_path).verdict) == ("built", None)


def test_remarks_do_not_make_evidence_stale(tmp_path):
    write(tmp_path, ENTRY)
    evidence(tmp_path)
    write(tmp_path, "# a remark\n" + ENTRY.replace("judge: beats", "about: a phrase, judge: beats") + "note: a word\n")
    assert row(tmp_path).status == "checked", row(tmp_path).fault


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"verdict": "upheld"}'])
def test_a_damaged_evidence_file_does_not_count(tmp_path, text):
    write(tmp_path, ENTRY)
    evidence(tmp_path)
    (tmp_path / "evidence" / "fnet.json").write_text(text)
    assert row(tmp_path).status == "built"


def test_an_entry_without_a_row_is_refused(tmp_path):
    write(tmp_path, ENTRY, name="nothing")
    with pytest.raises(InputError, match="nothing"):
        catalogue.rows(tmp_path)


def test_one_slug_in_two_folders_is_refused(tmp_path):
    write(tmp_path, ENTRY)
    write(tmp_path, ENTRY, family="models")
    with pytest.raises(InputError, match="models/"):
        catalogue.rows(tmp_path)


# ---- looking up


def test_a_row_is_found_by_slug_and_id():
    assert catalogue.find("fnet") is not catalogue.find("51") and catalogue.find("51").slug == "fnet"


@pytest.mark.parametrize(("name", "close"), [("fnett", "fnet"), ("Mamba", "mamba"), ("rotary", "roformer")])
def test_a_miss_names_close_rows(name, close):
    with pytest.raises(InputError, match=close):
        catalogue.find(name)


def test_filters_meet():
    rows = catalogue.rows()
    assert {r.slug for r in catalogue.select(rows, area="foundation", family="positions")} == {
        "fire",
        "nope",
        "roformer",
    }
    assert catalogue.select(rows, "linear attention")[0].slug == "linear-attention"
    for wrong in ({"family": "mixer"}, {"area": "base"}, {"status": "done"}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            catalogue.select(rows, **wrong)


def test_listing_needs_no_torch():
    code = (
        "import sys; from panformer.papers.catalogue import rows, search; "
        "a = [r.public() for r in rows()]; print(len(a), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["448", "False"]


# ---- the schema


GOOD = {
    "id": 1,
    "claim": "x",
    "checks": [
        {"judge": "beats", "task": {"use": "copy"}, "train": {"steps": 3}, "control": {}, "expect": {"margin": 0.1}},
        {"judge": "equal", "fact": "a.b", "tolerance": 1e-9},
        {"judge": "holds", "fact": "a.b", "expect": {"bound": [None, 1]}},
        {"judge": "scales", "cost": "flops", "lengths": [1, 2, 4], "expect": {"exponent": [0.9, 1.1]}},
        {"judge": "costs", "cost": "state", "length": 8, "control": {}, "expect": {"ratio": [0, 1]}},
        {"judge": "parity", "peer": "a.b", "tolerance": 1e-5},
    ],
}


def changed(path, value):
    tree = json.loads(json.dumps(GOOD))
    node = tree
    for key in path[:-1]:
        node = node[key]
    if value is KeyError:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return tree


def test_a_good_entry_is_read_and_hashed():
    paper = schema.parse(GOOD, "x.yaml")
    assert len(paper.claim_hash) == 12 and paper.claim_hash == schema.parse(GOOD, "y.yaml").claim_hash


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("sttus",), 1, "unknown key 'sttus'"),
        (("claim",), KeyError, "x.yaml.claim: this key is required"),
        (("id",), "one", "x.yaml.id"),
        (("checks",), [], "x.yaml.checks"),
        (("checks", 0, "judge"), "bets", "'beats'"),
        (("checks", 0, "expect", "margn"), 1, "did you mean 'margin'?"),
        (("checks", 0, "expect", "seeds"), 2, "x.yaml.checks.0.expect.seeds"),
        (("checks", 0, "expect", "margin"), -0.1, "needs `floor`"),
        (("checks", 0, "train", "step"), 1, "did you mean 'steps'?"),
        (("checks", 0, "train"), KeyError, "`task` and `train` go together"),
        (("checks", 0, "fact"), "a.b", "give one of `task` and `fact`"),
        (("checks", 0, "lower"), True, "whether lower is better"),
        (("checks", 0, "control", "wiht"), {}, "did you mean 'with'?"),
        (("checks", 1, "tolerance"), 0, "x.yaml.checks.1.tolerance"),
        (("checks", 1, "tolerance"), float("inf"), "x.yaml.checks.1.tolerance"),
        (("checks", 2, "expect", "bound"), 3, "x.yaml.checks.2.expect.bound"),
        (("checks", 3, "lengths"), [1, 2], "x.yaml.checks.3.lengths"),
        (("checks", 3, "cost"), "money", "x.yaml.checks.3.cost"),
        (("checks", 3, "cost"), KeyError, "give one of `cost` and `task`"),
        (("checks", 4, "control"), KeyError, "x.yaml.checks.4.control: this key is required"),
        (("checks", 5), {"judge": "listed", "why": "y"}, "stands alone"),
    ],
)
def test_a_fault_is_one_line_that_names_the_key(path, value, says):
    with pytest.raises(InputError) as fault:
        schema.parse(changed(path, value), "x.yaml")
    assert says in str(fault.value) and "\n" not in str(fault.value), str(fault.value)


@pytest.mark.parametrize(
    "path", [("checks", 0, "expect", "margin"), ("checks", 1, "tolerance"), ("checks", 0, "train", "steps")]
)
def test_every_threshold_is_hashed(path):
    assert schema.parse(changed(path, 7), "x").claim_hash != schema.parse(GOOD, "x").claim_hash
