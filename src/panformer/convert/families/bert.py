"""BERT: Devlin et al. 2018. Post-norm encoder, learned positions, segment types."""

from __future__ import annotations

from ..family import Family, Plan
from ..options import Options
from ._encoder import attention, bert_layers, classified, embeddings, plain, post_norm, pretraining, siblings


def body(c: Options) -> Plan:
    """The encoder without a head; names without a prefix."""
    spec = post_norm(
        c,
        mixer=attention(c),
        embed={"types": c.size("type_vocab_size", 2)},
        places=c.size("max_position_embeddings", 512),
    )
    return Plan(spec, [*embeddings(), *bert_layers(c)])


MASKED = pretraining(body, "bert.")
FAMILY = Family(
    "bert",
    siblings(
        "Bert",
        "bert.",
        body,
        Model=plain(body, "pooler.dense"),
        ForMaskedLM=MASKED,  # files of both bring the other's tensors
        ForPreTraining=MASKED,
        ForSequenceClassification=classified(
            body, "bert.", dense="bert.pooler.dense", out="classifier", act="tanh", aside=()
        ),
    ),
)
