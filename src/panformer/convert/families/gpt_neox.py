"""GPT-NeoX: Black et al. 2022. Attention and channel side by side, each with its norm; partly rotary heads."""

from __future__ import annotations

from ..family import Family, Plan
from ..options import Options, activation
from ..rules import each, same
from ._decoder import causal, classified, fused_layer, rope, spanned, tagged
from ._files import named, settled, without


def body(c: Options) -> Plan:
    c.only("is_decoder", False, True)
    c.defaults(max_position_embeddings=2048)
    width, heads, n = c.size("hidden_size", 6144), c.size("num_attention_heads", 64), c.size("num_hidden_layers", 44)
    base, share = c.number("rotary_emb_base", 10_000.0), c.number("rotary_pct", 0.25)
    bias = c.flag("attention_bias", True)
    mixer = {"use": "attention", "heads": heads, "bias": bias, "position": rope(c, base, width // heads, share)}
    channel = {"use": "mlp", "hidden": c.size("intermediate_size", 24576), "activation": activation(c)}
    spec = {
        "width": width, "causal": True, "norm": {"use": "layer", "eps": c.number("layer_norm_eps", 1e-5)},
        "residual": {"use": "parallel", "norms": "each"} if c.flag("use_parallel_residual", True) else "pre",
        "embed": {"use": "tokens", "vocab": c.size("vocab_size", 50432)},
        "schedule": [{"repeat": n, "mixer": mixer, "channel": channel}],
    }  # fmt: skip
    rules = [
        same("embed.table.weight", "embed_in.weight"),
        *each(n, *fused_layer(heads, "layers.{i}.", "attention")),
        same("trunk.final.*", "final_layer_norm.*"),
    ]
    return Plan(spec, rules)


FAMILY = Family(
    "gpt_neox",
    {
        "GPTNeoXModel": body,
        "GPTNeoXForCausalLM": causal(body, "gpt_neox.", "embed_in.weight"),
        "GPTNeoXForSequenceClassification": classified(body, "gpt_neox."),
        "GPTNeoXForTokenClassification": tagged(body, "gpt_neox.", "classifier"),
        "GPTNeoXForQuestionAnswering": spanned(body, "gpt_neox."),
    },
    settled(without(".attention.bias", ".masked_bias", ".inv_freq"), named("embed_out", "lm_head")),
)
