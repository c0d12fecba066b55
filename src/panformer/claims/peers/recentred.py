"""Models of transformers, imported, rewritten to norms without a mean, and compared with themselves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...convert.convert import from_module
from ...model.recentre import Form, recentre
from ._copy import public

ENDS = {"bos_token_id": 998, "eos_token_id": 998}
Pair = tuple[list[Tensor], list[Tensor]]


def gpt2(seed: int, form: Form) -> Pair:
    """GPT2LMHeadModel of the usual depth and width, with a small vocabulary."""
    t = public("transformers")
    x = torch.randint(0, 999, (2, 17), generator=torch.Generator().manual_seed(seed))
    return _rewritten(seed, form, lambda: t.GPT2LMHeadModel(t.GPT2Config(vocab_size=999, n_positions=64, **ENDS)), x)


def vit(seed: int, form: Form) -> Pair:
    """ViTForImageClassification of the size of ViT small."""
    t = public("transformers")
    size = {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536, "image_size": 64, "num_labels": 10}
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed)).double()
    return _rewritten(seed, form, lambda: t.ViTForImageClassification(t.ViTConfig(**size)), x)


def _rewritten(seed: int, form: Form, make: Any, x: Tensor) -> Pair:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        peer: nn.Module = make().double().eval()
        for p in peer.parameters():
            if p.dim() == 1:  # norms and offsets, which begin as ones and zeros
                p.add_(0.3 * torch.randn(p.shape))
        return [recentre(from_module(peer)[0], form)(x)], [peer(x).logits]
