"""Labels give the loss that ours gives, and the Trainer of transformers makes it fall."""

from __future__ import annotations

import copy
import gc
import importlib.util

import pytest
import torch
from torch.optim.optimizer import _global_optimizer_post_hooks as hooks

import panformer
from panformer.claims.peers import sphere
from panformer.core.part import config
from panformer.train.loop import compute, parts

t = pytest.importorskip("transformers")

from panformer.hf import PanformerConfig, PanformerForSeq2SeqLM, PanformerModel  # noqa: E402

from .specs import CASES, CAUSAL, IDS, LENGTHS, MASKED, SEQ2SEQ, mask, spec  # noqa: E402


class Batch:
    def __init__(self, x, y=None):
        self.x, self.y, self.lengths = x, y, list(LENGTHS)


RIGHT = {"input_ids": IDS, "attention_mask": mask("right")}
KINDS = {
    "classify": (spec({"use": "classify", "classes": 5}), torch.tensor([4, 0, 2])),
    "regress": (spec({"use": "regress"}), torch.tensor([0.5, -1.0, 2.0])),
    "robust": (spec({"use": "regress"}, objective={"use": "regress", "kind": "mae"}), torch.tensor([0.5, -1.0, 2.0])),
    "tag": (spec({"use": "tag", "classes": 4}), torch.where(mask("right") == 1, IDS % 4, -100)),
    "causal": (CAUSAL, torch.where(mask("right") == 1, IDS, -100)),
    "experts": (CASES["experts"].spec, torch.where(mask("right") == 1, IDS, -100)),
}


@pytest.mark.parametrize("name", KINDS)
def test_the_loss_is_that_of_our_own_loop(name):
    tree, labels = KINDS[name]
    model = PanformerModel(PanformerConfig(spec=tree)).train()
    lm = tree["head"]["use"] == "lm"
    default = {"classify": "classify", "tag": "classify", "regress": "regress", "lm": "causal_lm"}[tree["head"]["use"]]
    objective = config("objectives", tree.get("objective", default)).build()
    ours, _ = compute(model.model, objective, Batch(IDS, None if lm else labels), torch.Generator())
    out = model(**RIGHT, labels=labels)
    assert torch.equal(out.loss, ours["loss"]) and out.loss.requires_grad
    assert len(ours) == 3 if name == "experts" else len(ours) == 2, "the auxiliary loss of the experts is among them"


def test_a_masked_model_is_asked_only_where_it_is_told():
    model = PanformerModel(PanformerConfig(spec=MASKED)).eval()
    labels = torch.full_like(IDS, -100)
    labels[0, 3] = 7
    out = model(**RIGHT, labels=labels)
    assert torch.allclose(out.loss, -out.logits[0, 3].log_softmax(-1)[7])


def test_padding_on_the_left_changes_no_causal_loss():
    model = PanformerModel(PanformerConfig(spec=CAUSAL)).double().eval()
    rows = [IDS[i, :n] for i, n in enumerate(LENGTHS)]
    left = torch.stack([torch.cat([r.new_zeros(9 - len(r)), r]) for r in rows])
    labels = torch.where(mask("left") == 1, left, -100)
    told = model(input_ids=left, attention_mask=mask("left"), labels=labels).loss
    wanted = model(**RIGHT, labels=torch.where(mask("right") == 1, IDS, -100)).loss
    assert torch.allclose(told, wanted)


def test_an_encoder_decoder_reads_its_labels_moved_on():
    model = PanformerForSeq2SeqLM(PanformerConfig(spec=SEQ2SEQ)).eval()
    labels = torch.tensor([[5, 6, 7], [8, 9, -100], [4, -100, -100]])
    with pytest.raises(panformer.InputError, match="decoder_start_token_id"):
        model(**RIGHT, labels=labels)
    model.generation_config.decoder_start_token_id = 1
    read = torch.tensor([[1, 5, 6], [1, 8, 9], [1, 4, 0]])
    assert torch.equal(model.prepare_decoder_input_ids_from_labels(labels), read)
    logits = model.model(read, None, IDS, LENGTHS)
    wanted = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    assert torch.allclose(model(**RIGHT, labels=labels).loss, wanted)


def test_outputs_as_a_tuple():
    model = PanformerModel(PanformerConfig(spec=CAUSAL)).eval()
    told = model(**RIGHT, labels=IDS)
    plain = model(**RIGHT, labels=IDS, return_dict=False)
    assert len(plain) == 3 and torch.equal(plain[0], told.loss) and torch.equal(plain[1], told.logits)


# ---- the Trainer

needs_accelerate = pytest.mark.skipif(not importlib.util.find_spec("accelerate"), reason="accelerate is not installed")


def _trainer(folder, tree, rows, steps, **more):
    model = t.AutoModelForCausalLM.from_config(PanformerConfig(spec=tree))
    how = t.TrainingArguments(
        str(folder), max_steps=steps, per_device_train_batch_size=8, learning_rate=1e-2, logging_steps=1, seed=0,
        report_to=[], disable_tqdm=True, use_cpu=True, lr_scheduler_type="constant", **more,
    )  # fmt: skip
    return t.Trainer(model, how, train_dataset=rows, eval_dataset=rows[:8])


@pytest.fixture
def rows():
    """Counting up, which can be learned in no time."""
    start = torch.arange(16)[:, None]
    return [{"input_ids": r, "labels": r} for r in (start + torch.arange(12)) % 31]


@needs_accelerate
def test_the_trainer_makes_the_loss_fall(tmp_path, rows):
    trainer = _trainer(tmp_path, CAUSAL, rows, 40, save_strategy="no")
    trainer.train()
    losses = [e["loss"] for e in trainer.state.log_history if "loss" in e]
    assert len(losses) == 40 and losses[-1] < 0.3 * losses[0]
    told = trainer.predict(rows[:8])
    assert told.predictions.shape == (8, 12, 31) and told.metrics["test_loss"] < 0.3 * losses[0]


# ---- what parts hold of their weights

SPHERE = sphere.spec(16, 2, 2, 31, 24)
SPHERE = {**SPHERE, "head": {"use": "lm", "vocab": 31}, "linears": SPHERE["linears"][:-1]}  # the head is the table


def _off(model):
    """How far one more `after_step` of its parts moves a weight."""
    settled = copy.deepcopy(model)
    for part in parts(settled):
        part.after_step()
    return max(
        float((p - q).detach().abs().max()) for p, q in zip(model.parameters(), settled.parameters(), strict=True)
    )


@needs_accelerate
def test_the_trainer_leaves_vectors_of_length_1(tmp_path, rows):
    trainer = _trainer(tmp_path, SPHERE, rows, 4, save_steps=2)
    trainer.train()
    assert _off(trainer.model) < 1e-5
    assert _off(panformer.load(tmp_path / "checkpoint-2")) < 1e-5


def test_any_loop_does_and_only_with_its_own_model():
    model = PanformerModel(PanformerConfig(spec=SPHERE)).train()
    twin = copy.deepcopy(model)
    for moved, still in ((model, twin), (twin, model)):
        with torch.no_grad():
            for p in still.parameters():
                p.mul_(1.5)
        optimizer = torch.optim.SGD(moved.parameters(), lr=0.5)
        moved(**RIGHT, labels=IDS).loss.backward()
        optimizer.step()
        assert _off(moved) < 1e-5 and _off(still) > 0.1


def test_a_model_that_is_gone_is_not_followed():
    gc.collect()
    before = len(hooks)
    model = PanformerModel(PanformerConfig(spec=SPHERE))
    assert len(hooks) == before + 1
    PanformerModel(PanformerConfig(spec=CAUSAL))
    assert len(hooks) == before + 1, "its parts hold nothing of their weights"
    del model
    gc.collect()
    assert len(hooks) == before


@needs_accelerate
def test_a_checkpoint_is_a_model_folder_and_is_gone_on_with(tmp_path, rows):
    tied = CASES["tied layers"].spec
    whole = _trainer(tmp_path / "whole", tied, rows, 6, save_steps=3)
    start = {n: v.clone() for n, v in whole.model.state_dict().items()}
    whole.train()
    halfway = panformer.load(tmp_path / "whole" / "checkpoint-3")
    assert torch.isfinite(halfway(IDS)).all()
    again = _trainer(tmp_path / "again", tied, rows, 6, save_steps=3)
    again.model.load_state_dict(start)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert again.state.global_step == 6
    ends = [x.model.state_dict() for x in (whole, again)]
    assert all(torch.equal(v, ends[1][n]) for n, v in ends[0].items())
    there = panformer.load(tmp_path / "again" / "checkpoint-6")
    assert all(torch.equal(v, again.model.model.state_dict()[n]) for n, v in there.state_dict().items())


@needs_accelerate
def test_the_best_checkpoint_comes_back(tmp_path, rows):
    trainer = _trainer(
        tmp_path, CAUSAL, rows, 6, save_steps=2, eval_steps=2, eval_strategy="steps", load_best_model_at_end=True,
        metric_for_best_model="eval_loss", greater_is_better=True,
    )  # fmt: skip
    trainer.train()  # the loss falls: by this upside-down measure the first checkpoint is the best
    assert trainer.state.best_global_step == 2
    best = panformer.load(tmp_path / "checkpoint-2").state_dict()
    assert all(torch.equal(v, trainer.model.model.state_dict()[n]) for n, v in best.items())
