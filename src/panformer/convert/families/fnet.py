"""FNet: Lee-Thorp et al. 2021. BERT whose attention is a Fourier transform along tokens and channels.

Their transform runs over padding too; ours is that of each text alone, which is theirs on rows without padding.
"""

from __future__ import annotations

from ..family import Family, Plan
from ..options import Options
from ..rules import each, same
from ._encoder import classified, embeddings, feed_forward, plain, post_norm, pretraining, siblings


def body(c: Options) -> Plan:
    """The encoder without a head."""
    c.skip("use_tpu_fourier_optimizations", "tpu_short_seq_length")  # other ways to the same transform
    spec = post_norm(
        c,
        vocab=32000,
        act="gelu_new",
        mixer={"use": "fourier"},
        embed={"types": c.size("type_vocab_size", 4), "size": c.size("hidden_size", 768)},
        places=c.size("max_position_embeddings", 512),
    )
    here, there = "trunk.layers.{i}.", "encoder.layer.{i}."
    layers = each(
        c.size("num_hidden_layers", 12),
        same(f"{here}residual.norms.0.*", f"{there}fourier.output.LayerNorm.*"),
        *feed_forward(here, there),
    )
    return Plan(spec, [*embeddings(), same("embed.project.*", "embeddings.projection.*"), *layers])


MASKED = pretraining(body, "fnet.")
FAMILY = Family(
    "fnet",
    siblings(
        "FNet",
        "fnet.",
        body,
        Model=plain(body, "pooler.dense"),
        ForMaskedLM=MASKED,  # files of both bring the other's tensors
        ForPreTraining=MASKED,
        ForSequenceClassification=classified(
            body, "fnet.", dense="fnet.pooler.dense", out="classifier", act="tanh", aside=()
        ),
    ),
)
