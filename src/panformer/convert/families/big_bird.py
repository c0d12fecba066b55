"""BigBird: Zaheer et al. 2020. BERT whose long texts are read in blocks.

Their answers do not draw random blocks: the first block stands for each of them, and so it does here.
"""

from __future__ import annotations

from typing import Any

from ..family import Family, Plan
from ..options import Options
from ._encoder import attention, bert_layers, classified, embeddings, plain, post_norm, pretraining, tagged


def body(c: Options) -> Plan:
    """The encoder without a head."""
    spec = post_norm(
        c,
        vocab=50358,
        act="gelu_new",
        mixer=c.pick("attention_type", {"original_full": _full(c), "block_sparse": _blocks(c)}, "block_sparse"),
        embed={"types": c.size("type_vocab_size", 2), "scale": c.flag("rescale_embeddings")},
        places=c.size("max_position_embeddings", 4096),
    )
    return Plan(spec, [*embeddings(), *bert_layers(c)])


def _full(c: Options) -> dict[str, Any]:
    return {**attention(c), "bias": c.flag("use_bias", True), "out_bias": True}


def _blocks(c: Options) -> dict[str, Any]:
    sizes = {"block": c.size("block_size", 64), "random": c.get("num_random_blocks", 3), "drawn": False}
    return {**_full(c), "use": "big_bird", **sizes}


MASKED = pretraining(body, "bert.", aside=("pooler",))
FAMILY = Family(
    "big_bird",
    {
        "BigBirdModel": plain(body, "pooler"),
        "BigBirdForMaskedLM": MASKED,  # files of both bring the other's tensors
        "BigBirdForPreTraining": MASKED,
        "BigBirdForSequenceClassification": classified(body, "bert.", aside=("pooler",)),
        "BigBirdForTokenClassification": tagged(body, "bert.", ("pooler",)),
    },
)
