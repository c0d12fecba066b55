"""Recurrent parts and models against transformers, on copied weights."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.layout import Layout
from ...model.build import build
from ...ops.delta_rule import delta_rule as rule
from ._copy import Rules, carry, public, randomise

Pair = tuple[list[Tensor], list[Tensor]]


def delta_rule(seed: int, length: int = 150) -> Pair:
    """Qwen3-Next's two forms of the gated delta rule where nothing fades: answers and last state."""
    t = public("transformers.models.qwen3_next.modeling_qwen3_next")
    rng = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(2, 3, length, 8, generator=rng, dtype=torch.float64) for _ in range(3))
    k, b = F.normalize(k, dim=-1), torch.rand(2, 3, length, generator=rng, dtype=torch.float64)
    ours = rule(q * 8**-0.5, k, v, b, None, Layout.dense(2, length), None)
    args = [z.transpose(1, 2).contiguous() for z in (q, k, v, torch.zeros_like(b), b)]
    theirs = []
    for run in (t.torch_chunk_gated_delta_rule, t.torch_recurrent_gated_delta_rule):
        y, s = inspect.unwrap(run)(*args, output_final_state=True)  # where fla is, its kernels stand before these
        theirs += [y.transpose(1, 2), s]
    return [*ours, *ours], theirs


def rwkv(seed: int) -> Pair:
    """RwkvForCausalLM, whose stream is not rescaled: the answer to all tokens."""
    t = public("transformers")
    c = t.RwkvConfig(
        vocab_size=31, hidden_size=16, num_hidden_layers=2, intermediate_size=40, rescale_every=0, use_cache=False
    )
    peer = t.RwkvForCausalLM(c).double().eval()
    randomise(peer, seed)
    mixers = [{"mixer": "rwkv"}, {"mixer": {"use": "rwkv_channel", "hidden": 40}}]
    norm = {"use": "layer", "eps": 1e-5}
    ours = build({
        "width": 16, "causal": True, "norm": norm, "embed": {"use": "tokens", "vocab": 31, "norm": norm},
        "schedule": [{"repeat": 2, "pattern": mixers}], "head": {"use": "lm", "vocab": 31, "tie": False, "bias": False},
    }).double().eval()  # fmt: skip
    carry(ours, peer.state_dict(), RWKV)
    x = torch.randint(31, (2, 23), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return [ours(x)], [peer(x).logits]


def _layer(ours: int, theirs: str) -> Rules:
    """Time mixing at an even layer, channel mixing at an odd one."""
    here, there = rf"trunk\.layers\.{ours}\.", f"rwkv.blocks.{theirs}."
    if ours % 2:
        names = {r"r\.weight": "receptance.weight", r"up\.weight": "key.weight", r"down\.weight": "value.weight"}
        block, norm = "feed_forward", "ln2"
        mixes = {"r": "receptance", "k": "key"}
    else:
        names = {r"r\.weight": "receptance.weight", r"k\.weight": "key.weight", r"v\.weight": "value.weight"}
        names |= {r"o\.weight": "output.weight", "decay": "time_decay", "first": "time_first"}
        block, norm = "attention", "ln1"
        mixes = {"r": "receptance", "k": "key", "v": "value"}
    names |= {f"mix_{a}": f"time_mix_{b}" for a, b in mixes.items()}
    rules = [(rf"{here}mixer\.{a}", f"{there}{block}.{b}") for a, b in names.items()]
    return [*rules, (rf"{here}residual\.norms\.0\.(\w+)", rf"{there}{norm}.\1")]


RWKV: Rules = (
    (r"embed\.table\.weight", "rwkv.embeddings.weight"),
    (r"embed\.norm\.(\w+)", r"rwkv.blocks.0.pre_ln.\1"),
    *(rule for i in range(4) for rule in _layer(i, str(i // 2))),
    (r"trunk\.final\.(\w+)", r"rwkv.ln_out.\1"),
    (r"head\.table", "head.weight"),
)
