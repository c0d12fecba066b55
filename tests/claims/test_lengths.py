"""One table of what was tested longer than trained, from evidence alone."""

import json

from panformer.papers import catalogue
from panformer.papers.lengths import tables

ENTRY = """
id: {id}
claim: "a test"
model: {{width: 16, position: {position}, schedule: [{{repeat: 2, mixer: {{use: attention, heads: 2}}}}]}}
checks:
  - judge: beats
    task: {{use: text, length: 64, test: {test}}}
    train: {{steps: 5, batch: 4}}
    control: {{model: {{position: alibi}}}}
    expect: {{margin: 0}}
  - {{judge: equal, fact: mixers.one_head, tolerance: 1.0e-9}}
"""


def put(folder, slug, values, **told):
    (folder / "positions").mkdir(exist_ok=True)
    (folder / "evidence").mkdir(exist_ok=True)
    (folder / "positions" / f"{slug}.yaml").write_text(ENTRY.format(**told))
    entry = catalogue.find(slug, catalogue.rows(folder)).entry
    numbers = [dict(zip(("candidate", "control"), values, strict=True)), {}]
    checks = [
        {"check": one.model_dump(mode="json", by_alias=True, exclude_defaults=True), "numbers": n}
        for one, n in zip(entry.checks, numbers, strict=True)
    ]
    found = {"verdict": "upheld", "checks": checks, "spec_hash": entry.spec_hash, "claim_hash": entry.claim_hash}
    (folder / "evidence" / f"{slug}.json").write_text(json.dumps(found))


def test_positions_that_train_alike_share_a_table(tmp_path):
    put(tmp_path, "fire", ([1.0, 3.0], [4.0, 4.0]), id=157, position="{use: fire, threshold: 64}", test=256)
    put(tmp_path, "roformer", ([5.0, 7.0], [4.0, 4.0]), id=249, position="rope", test=128)
    put(tmp_path, "nope", ([5.0, 7.0], [4.0, 4.0]), id=245, position="none", test=32)
    (one,) = tables(catalogue.rows(tmp_path))
    assert one.tests == [128, 256] and (one.trained, one.width, one.layers) == (64, 16, 2)
    assert one.lines == {"fire (threshold 64)": {256: 2.0}, "rope": {128: 6.0}, "alibi": {128: 4.0, 256: 4.0}}
    assert one.papers == {"fire", "roformer"}, "a test no longer than training is none of this"
