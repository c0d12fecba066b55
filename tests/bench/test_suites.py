"""What the suites are made of: the same checkpoints for all, real sentences, the cost of cheaper numbers."""

from __future__ import annotations

import json
import math

import pytest
import torch

from panformer import convert
from panformer.bench import folders, forms, long
from panformer.bench.contest import Plan
from panformer.bench.jobs import JOBS, SDPA, Job
from panformer.bench.linear import linear
from panformer.bench.quality import cosines, probe
from panformer.bench.texts import sentences
from panformer.measure.cost import of_model
from panformer.runtime import answers


class Words:
    """A tokenizer of letters."""

    def encode_batch(self, texts):
        return [type("Encoding", (), {"ids": list(range(len(t.split())))}) for t in texts]


def test_sentences_are_real_different_and_the_same_each_time():
    found = sentences(Words(), 200)
    assert len(set(found)) == 200 and found == sentences(Words(), 200) != sentences(Words(), 200, seed=1)
    assert all(8 <= len(s.text.split()) <= 256 and s.module for s in found)
    assert len({s.module for s in found}) > 20


def test_cosines_and_probe():
    torch.manual_seed(0)
    centres = torch.randn(4, 16)
    labels = [str(i % 4) for i in range(200)] + ["rare"]
    x = torch.stack([centres[int(n) if n != "rare" else 0] for n in labels]) + 0.1 * torch.randn(201, 16)
    assert cosines(x, x) == pytest.approx({"min_cosine": 1, "mean_cosine": 1})
    turned = cosines(x + 0.5 * torch.randn_like(x), x)
    assert 0 < turned["min_cosine"] < turned["mean_cosine"] < 0.99
    assert probe(x, labels) > 95
    assert probe(torch.randn(201, 16), labels) < 60


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    home = tmp_path_factory.mktemp("words")
    (home / "1_Pooling").mkdir()
    (home / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True})
    )
    modules = ["Transformer", "Pooling", "Normalize"]
    (home / "modules.json").write_text(
        json.dumps([
            {"idx": i, "name": str(i), "path": "" if i == 0 else f"{i}_{n}", "type": f"sentence_transformers.models.{n}"}
            for i, n in enumerate(modules)
        ])
    )  # fmt: skip
    return home


def test_a_drawn_encoder_is_one_for_us_and_for_them(tmp_path, words):
    hf = pytest.importorskip("transformers")
    folder = folders.bert(tmp_path / "bert", words, layers=2, width=32, heads=4, vocab=50)
    model, peer = convert.load(folder).eval(), hf.AutoModel.from_pretrained(folder).eval()
    texts = [torch.randint(0, 50, (n,)) for n in (5, 9, 9)]
    with torch.no_grad():
        mean = torch.stack([peer(t[None]).last_hidden_state[0].mean(0) for t in texts])
    want = torch.nn.functional.normalize(mean, dim=-1)
    torch.testing.assert_close(torch.stack(answers(model, texts)), want, rtol=1e-4, atol=1e-5)


def test_a_drawn_vit_is_one_for_us_and_for_them(tmp_path):
    hf = pytest.importorskip("transformers")
    folder = folders.vit(tmp_path / "vit", layers=1, width=32, heads=2, classes=5)
    model, peer = convert.load(folder).eval(), hf.AutoModelForImageClassification.from_pretrained(folder).eval()
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(model(x), peer(pixel_values=x).logits, rtol=1e-4, atol=1e-5)


def test_forms_are_near_and_work_is_counted(tmp_path, words):
    model = convert.load(folders.bert(tmp_path / "bert", words, layers=2, width=32, heads=4, vocab=50)).eval()
    made = forms.forms(model, (torch.randint(0, 50, (8, 40)),))
    assert set(made) == {"fp32", "bf16", "int8", "int8 by row"}
    texts = [torch.randint(0, 50, (n,)) for n in (5, 9, 30)]
    want = torch.stack(answers(model, texts))
    for name, form in made.items():
        got = torch.stack(answers(form, texts)).float()
        assert (
            cosines(got, want)["min_cosine"]
            > {"fp32": 1 - 1e-6, "bf16": 0.999, "int8": 0.99, "int8 by row": 0.99}[name]
        ), name
    flops = sum(of_model(model, n).flops for n in (20, 90))
    assert forms.work(model, [20, 90]) == pytest.approx(flops, rel=1e-3)


def test_the_linear_suite_tells_every_form():
    result = linear(Plan(rounds=1, threads=torch.get_num_threads()), rows=(2,))
    told = {(r["task"], r["form"]) for r in result["rows"]}
    assert {("2 rows, fp32", f) for f in ("plain", "packed", "int8", "int4", "int8 by tensor")} <= told
    assert ("2 rows, bf16", "int8 weights alone") in told
    assert all(r["rate"] > 0 and r["error"] < 0.3 for r in result["rows"])
    assert sum(r["picked"] for r in result["rows"]) == len(result["goals"]) == 2


def test_the_long_suite_fits_growth_and_holds_every_job_against_softmax(monkeypatch):
    monkeypatch.setattr(long, "COUNTED", (4096, 8192))
    jobs = {n: JOBS[n] for n in (SDPA, "linear attention")}
    result = long.long(Plan(rounds=1), jobs, lengths=(64, 4096, 8192), width=16)
    assert [r["length"] for r in result["rows"]].count(8192) == 8 and not result["missing"]
    raced = [(g["task"], g["against"]) for g in result["goals"] if "against" in g]
    assert set(raced) == {("linear attention", "causal softmax attention")} and len(raced) == 8
    assert sum("exponent" in g["goal"] for g in result["goals"]) == 2
    memory = {g["task"]: g["peak memory"] for g in result["growth"]}
    assert memory["linear attention"] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("declared", "own"), [("n", 1.0), ("n log n", 1.1038), ("n^1.5", 1.5)])
def test_growth_is_held_against_what_the_declared_cost_grows_by(declared, own):
    if declared == "n log n":  # between 4096 and 65536 tokens
        assert math.log(65536 * 16 / (4096 * 12), 16) == pytest.approx(own, abs=1e-4)
    for more, met in ((0.14, True), (0.16, False)):
        told = {"task": "a", "declared": declared, "time fp32, forward": own + more, "peak memory": 3.0}
        (goal,) = long._met([told], {"a": Job({})})
        assert goal["met"] is met and goal["reached"] == own + more


def test_the_long_suite_keeps_what_it_knows_after_each_form():
    jobs = {n: JOBS[n] for n in (SDPA, "minGRU")}
    kept: list = []
    plan = Plan(rounds=1, keep=lambda k: kept.append({**k, "rows": list(k["rows"])}))
    result = long.long(plan, jobs, lengths=(64, 128), width=32)
    assert [len(k["rows"]) for k in kept] == [4, 8, 12, 16] and len(result["rows"]) == 16
    assert [k["missing"]["the rest"] for k in kept] == [
        f"the run ended after {p}, {way}" for p in ("fp32", "bf16") for way in ("forward", "forward and backward")
    ]
    assert not result["missing"] and {g["task"] for g in kept[-1]["growth"]} == set(jobs)
