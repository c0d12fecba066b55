"""Mamba 2: Dao & Gu 2024. One state space with a decay per head in each layer, nothing else."""

from __future__ import annotations

import math

from ..family import Family, Plan
from ..options import Options
from ._decoder import causal, state_space


def body(c: Options) -> Plan:
    c.only("hidden_act", "silu", "swish")
    c.only("time_step_limit", (0.0, math.inf), [0.0, math.inf])
    c.skip("residual_in_fp32", "rescale_prenorm_residual", "chunk_size", "time_step_rank")
    c.skip("time_step_min", "time_step_max", "time_step_floor", "time_step_scale", "time_step_init_scheme")
    c.only("rms_norm", True)
    c.skip("norm_before_gate")  # some files say true, but nothing reads it: the gate comes first
    width, depth, kernel = c.size("hidden_size", 4096), c.size("num_hidden_layers", 64), c.size("conv_kernel", 4)
    heads, groups, state = c.size("num_heads", 128), c.size("n_groups", 8), c.size("state_size", 128)
    inner, conv_bias, eps = (
        c.size("expand", 2) * width,
        c.flag("use_conv_bias", True),
        c.number("layer_norm_epsilon", 1e-5),
    )
    c.only("head_dim", 64 if "head_dim" not in c.tree else inner // heads)
    mixer = {
        "use": "mamba2", "expand": inner // width, "state": state, "kernel": kernel, "heads": heads, "groups": groups,
        "bias": c.flag("use_bias"), "conv_bias": conv_bias, "eps": eps,
    }  # fmt: skip
    spec = {
        "width": width, "causal": True, "norm": {"use": "rms", "eps": eps},
        "embed": {"use": "tokens", "vocab": c.size("vocab_size", 32768)}, "schedule": [{"repeat": depth, "mixer": mixer}],
    }  # fmt: skip
    own = (("delta", "dt_bias"), ("weight", "norm.weight"))
    return Plan(spec, state_space(depth, inner + 2 * groups * state, kernel, conv_bias, *own))


FAMILY = Family(
    "mamba2",
    {"Mamba2Model": body, "Mamba2ForCausalLM": causal(body, "backbone.", "embeddings.weight")},
)
