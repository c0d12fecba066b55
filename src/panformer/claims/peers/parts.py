"""Single parts against transformers, on copied weights."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.layout import Layout
from ...core.part import config
from ...core.shared import Shared
from ._copy import carry, public, randomise

Pair = tuple[list[Tensor], list[Tensor]]


def mamba(seed: int) -> Pair:
    """MambaMixer, the path that runs anywhere."""
    t = public("transformers.models.mamba.modeling_mamba")
    c = t.MambaConfig(hidden_size=24, state_size=5, time_step_rank=3, num_hidden_layers=1, use_mambapy=False)
    peer = t.MambaMixer(c, layer_idx=0).double().eval()
    randomise(peer, seed)
    ours = config("mixers", {"use": "mamba", "state": 5, "rank": 3}).build(24).double()
    rules = (
        ("input.weight", "in_proj.weight"), ("filter", "conv1d.weight"), ("offset", "conv1d.bias"),
        ("select.weight", "x_proj.weight"), (r"delta\.(\w+)", r"dt_proj.\1"), ("a_log", "A_log"), ("skip", "D"),
        ("output.weight", "out_proj.weight"),
    )  # fmt: skip
    carry(ours, peer.state_dict(), rules)
    x = _values(seed, 2, 19, 24)
    with torch.no_grad():
        return [ours(x, Layout.dense(2, 19))], [peer(x)]


def switch(seed: int, capacity: int = 2) -> Pair:
    """SwitchTransformersSparseMLP with dropped tokens: the answer, the balance loss and the router z loss."""
    t = public("transformers.models.switch_transformers.modeling_switch_transformers")
    c = t.SwitchTransformersConfig(
        d_model=16, d_ff=8, num_experts=4, expert_capacity=capacity, dropout_rate=0.0, dense_act_fn="relu"
    )
    peer = t.SwitchTransformersSparseMLP(c).double().eval()
    peer.router.dtype = torch.float64
    randomise(peer, seed)
    options = {"activation": "relu", "per": "sequence", "capacity": capacity * 4 / 12, "balance": 1.0, "router_z": 1.0}
    ours = config("channels", {"use": "moe", "experts": 4, "hidden": 8, **options}).build(16).double().eval()
    theirs = peer.state_dict()
    with torch.no_grad():
        ours.router.copy_(theirs["router.classifier.weight"])
        for i in range(4):
            ours.up[i] = theirs[f"experts.expert_{i}.wi.weight"]
            ours.down[i] = theirs[f"experts.expert_{i}.wo.weight"]
    x, shared = _values(seed, 3, 12, 16), Shared()
    with torch.no_grad():
        mine = ours(x, Layout.dense(3, 12), shared)
        logits = peer.router(x)[2]
        share = logits.softmax(-1)
        losses = [t.load_balancing_loss_func(share, share.argmax(-1)), t.router_z_loss_func(logits)]
        return [mine, shared.losses["balance"], shared.losses["router_z"]], [peer(x), *losses]


def roformer(seed: int) -> Pair:
    """The rotation in RoFormer's self-attention."""
    t = public("transformers.models.roformer.modeling_roformer")
    table = t.RoFormerSinusoidalPositionalEmbedding(11, 8)
    table.weight.data = table.create_weight()
    q, k = _values(seed, 2, 4, 11, 8), _values(seed + 1, 2, 4, 11, 8)
    theirs = t.RoFormerSelfAttention.apply_rotary_position_embeddings(table.weight[None, None].double(), q, k)
    rope = config("positions", {"use": "rope", "pairing": "interleaved"}).build(4, 8)
    at = Layout.dense(2, 11)
    return [rope.rotate(q, at), rope.rotate(k, at)], list(theirs)


def multi_query(seed: int) -> Pair:
    """GPTBigCodeAttention, whose heads share one key and one value head, causal."""
    t = public("transformers.models.gpt_bigcode.modeling_gpt_bigcode")
    c = t.GPTBigCodeConfig(vocab_size=31, n_embd=16, n_layer=1, n_head=4, n_positions=24, attn_implementation="eager")
    peer = t.GPTBigCodeAttention(c, layer_idx=0).double().eval()
    randomise(peer, seed)
    tree = {"use": "attention", "heads": 4, "kv_heads": 1, "causal": True, "bias": True}
    ours = config("mixers", tree).build(16).double().eval()
    fused, out = peer.c_attn, peer.c_proj
    with torch.no_grad():
        for name, rows in (("q", slice(0, 16)), ("k", slice(16, 20)), ("v", slice(20, 24))):
            getattr(ours, name).weight.copy_(fused.weight[rows])
            getattr(ours, name).bias.copy_(fused.bias[rows])
        ours.o.load_state_dict(out.state_dict())
        x = _values(seed, 2, 11, 16)
        ahead = torch.full((11, 11), -torch.inf, dtype=torch.float64).triu(1)[None, None]
        return [ours(x, Layout.dense(2, 11))], [peer(x, attention_mask=ahead)[0]]


def _values(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
