"""Mamba: Gu & Dao 2023. One selective state space per layer, nothing else."""

from __future__ import annotations

import math

from ..family import Family, Plan
from ..options import Options
from ._decoder import causal, state_space


def body(c: Options) -> Plan:
    c.only("hidden_act", "silu", "swish")
    c.skip("residual_in_fp32", "rescale_prenorm_residual", "use_mambapy", "use_associative_scan")
    c.skip("time_step_scale", "time_step_min", "time_step_max", "time_step_init_scheme", "time_step_floor")
    width, depth, kernel = c.size("hidden_size", 768), c.size("num_hidden_layers", 32), c.size("conv_kernel", 4)
    inner = c.size("expand", 2) * width
    for name, value in (("intermediate_size", inner), ("d_inner", inner), ("d_model", width), ("n_layer", depth)):
        c.only(name, value)  # the first files say some things twice
    c.only("rms_norm", True)
    c.skip("fused_add_norm", "pad_vocab_size_multiple", "ssm_cfg")
    rank = c.get("time_step_rank", "auto")
    conv_bias = c.flag("use_conv_bias", True)
    mixer = {
        "use": "mamba", "expand": c.size("expand", 2), "state": c.size("state_size", 16), "kernel": kernel,
        "bias": c.flag("use_bias"), "conv_bias": conv_bias, "rank": math.ceil(width / 16) if rank == "auto" else rank,
    }  # fmt: skip
    spec = {
        "width": width, "causal": True, "norm": {"use": "rms", "eps": c.number("layer_norm_epsilon", 1e-5)},
        "embed": {"use": "tokens", "vocab": c.size("vocab_size", 50280)}, "schedule": [{"repeat": depth, "mixer": mixer}],
    }  # fmt: skip
    own = (("select.weight", "x_proj.weight"), ("delta.*", "dt_proj.*"))
    return Plan(spec, state_space(depth, inner, kernel, conv_bias, *own))


FAMILY = Family(
    "mamba", {"MambaModel": body, "MambaForCausalLM": causal(body, "backbone.", "embeddings.weight", tie=True)}
)
