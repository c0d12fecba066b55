"""A whole normalised model against nGPT-pytorch, on copied weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...model.build import build
from ._copy import public

Pair = tuple[list[Tensor], list[Tensor]]
UNIT = {"use": "unit"}


def ngpt(seed: int, width: int = 16, layers: int = 2, heads: int = 2, vocab: int = 31) -> Pair:
    """nGPT without its mixing of values. Theirs scales queries alone, so our shares are the roots of theirs."""
    p = public("nGPT_pytorch.nGPT")
    for kind in vars(p).values():
        if isinstance(kind, type) and kind.__hash__ is None:  # which torch needs to walk through modules
            kind.__hash__ = nn.Module.__hash__
    size, hidden = width // heads, int(width * 4 * 2 / 3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peer = p.nGPT(num_tokens=vocab, dim=width, depth=layers, dim_head=size, heads=heads, add_value_residual=False)
        for module in peer.modules():
            if hasattr(module, "forward_scale"):
                module.scale.data.mul_(0.5 + torch.rand(module.scale.shape))
    peer = peer.double().eval()
    turns = 10_000 ** -(torch.arange(0, size, 2, dtype=torch.float64) / size)  # theirs are rounded to float32
    peer.rotary_embed.freqs.data.copy_(turns)
    ours = build(spec(width, layers, heads, vocab, hidden), seed=seed).double().eval()
    ours.load_state_dict(_carried(peer, ours))
    x = torch.randint(0, vocab, (2, 13), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return [ours(x)], [peer(x)]


def spec(width: int, layers: int, heads: int, vocab: int, hidden: int) -> dict[str, Any]:
    """nGPT as a spec."""
    turn = {"use": "rope", "pairing": "interleaved"}
    mixer = {"use": "attention", "heads": heads, "scale": (width // heads) ** 0.5}
    stands = [
        *({"where": f"trunk.*.{name}", "use": {**UNIT, "along": "outputs"}} for name in ("o", "down")),
        {"where": "trunk.*.gate", "use": {**UNIT, "scale": width**0.5}},
        {"where": "trunk.*.up", "use": {**UNIT, "scale": 1.0}},
        {"where": "trunk.*", "use": UNIT},
        {"where": "head.*", "use": {**UNIT, "scale": 1.0, "pace": width**0.5}},
    ]
    return {
        "width": width, "causal": True, "embed": {"use": "unit_tokens", "vocab": vocab},
        "position": {"use": "sphere", "pace": width**0.5, "inside": turn}, "residual": "hypersphere",
        "schedule": [{"repeat": layers, "mixer": mixer, "channel": {"use": "glu", "hidden": hidden}}],
        "head": {"use": "tag", "classes": vocab, "bias": False}, "linears": stands,
    }  # fmt: skip


def _carried(peer: Any, ours: Any) -> dict[str, Tensor]:
    """Our tensors, from theirs; each scale is theirs over what ours is multiplied by."""
    out = {"embed.table.weight": peer.token_embed.weight, "head.out.weight": peer.to_logits.weight}
    out["head.out.a"] = peer.logit_scale() / ours.head.out.factor
    for i, (mixing, feeding) in enumerate(peer.layers):
        layer, here = ours.trunk.layers[i], f"trunk.layers.{i}."
        for k, branch in enumerate((mixing, feeding)):
            out[f"{here}residual.a.{k}"] = branch.branch_scale() / layer.residual.factor
        attn, ff = mixing.fn, feeding.fn
        out |= {f"{here}mixer.{n}.weight": getattr(attn, f"to_{n}").weight for n in "qkv"}
        out[f"{here}mixer.o.weight"] = attn.to_out.weight
        own = layer.mixer.position
        out[f"{here}mixer.position.a"] = attn.qk_scale().sqrt().view_as(own.a) / own.pace
        for name, theirs, scale in (("up", "to_hidden", ff.hidden_scale), ("gate", "to_gate", ff.gate_scale)):
            out[f"{here}channel.{name}.weight"] = getattr(ff, theirs).weight
            by = ff.dim**0.5 if name == "gate" else 1.0
            out[f"{here}channel.{name}.a"] = scale() * by / getattr(layer.channel, name).factor
        out[f"{here}channel.down.weight"] = ff.to_out.weight
    return out
