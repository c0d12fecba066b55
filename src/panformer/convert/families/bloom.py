"""BLOOM: Le Scao et al. 2022. Pre-norm decoder with ALiBi and a norm on the embedding."""

from __future__ import annotations

from ..family import Family, Plan
from ..options import Options
from ..rules import each, same
from ._decoder import causal, classified, fused_layer, spanned, tagged
from ._files import prefixed


def body(c: Options) -> Plan:
    c.only("apply_residual_connection_post_layernorm", False)
    c.skip(
        "slow_but_exact", "seq_length", "skip_bias_add", "skip_bias_add_qkv", "unk_token_id", "masked_softmax_fusion"
    )
    c.skip("bias_dropout_fusion", "offset_alibi", "attention_softmax_in_fp32", "n_inner")
    width, heads, n = c.size("n_embed", c.size("hidden_size", 64)), c.size("n_head", 8), c.size("n_layer", 2)
    norm = {"use": "layer", "eps": c.number("layer_norm_epsilon", 1e-5)}
    spec = {
        "width": width, "causal": True, "norm": norm, "position": "alibi",
        "embed": {"use": "tokens", "vocab": c.size("vocab_size", 250880), "norm": norm},
        "schedule": [
            {
                "repeat": n,
                "mixer": {"use": "attention", "heads": heads, "bias": True},
                "channel": {"use": "mlp", "hidden": 4 * width, "activation": "gelu_tanh"},
            }
        ],
    }  # fmt: skip
    rules = [
        same("embed.table.weight", "word_embeddings.weight"),
        same("embed.norm.*", "word_embeddings_layernorm.*"),
        *each(n, *fused_layer(heads, "h.{i}.", "self_attention")),
        same("trunk.final.*", "ln_f.*"),
    ]
    return Plan(spec, rules)


FAMILY = Family(
    "bloom",
    {
        "BloomModel": body,
        "BloomForCausalLM": causal(body, "transformer.", "word_embeddings.weight", tie=True),
        "BloomForSequenceClassification": classified(body, "transformer."),
        "BloomForTokenClassification": tagged(body, "transformer.", "classifier"),
        "BloomForQuestionAnswering": spanned(body, "transformer."),
    },
    prefixed("transformer.", "word_embeddings.weight", "BloomModel"),
)
