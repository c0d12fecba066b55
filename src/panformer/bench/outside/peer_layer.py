"""Peers of one layer: attention and an MLP, each behind a norm, in plain torch, with one piece of a public package."""

from peer_serve import serve

HEADS = 8


def load(setup):
    import torch

    torch.set_num_threads(setup["threads"])
    torch.manual_seed(0)
    precision, way, library = setup["precision"].split(", ")
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    both = way == "forward and backward"
    layer = layer_with(setup["choice"], library, setup["width"], setup["length"]).train().to(kind)
    x = torch.randn(1, setup["length"], setup["width"], dtype=kind, requires_grad=both)

    def step():
        with torch.set_grad_enabled(both):
            out = layer(x)
        if both:
            out.sum().backward()
            x.grad = None
            layer.zero_grad(set_to_none=True)
        return [0.0]

    return step


def layer_with(choice, library, width, length):
    import torch
    from torch import nn
    from torch.nn import functional as F

    family, _, use = choice.partition(" ")
    mlp = [nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)]
    made = (norm(use, library, width) if family == "norms" else nn.LayerNorm(width) for _ in range(2))
    turn, bias = position(use, library, width // HEADS, length) if family == "positions" else (None, None)

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.norms = nn.ModuleList(made)
            self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
            self.channel = channel(use, library, width) if family == "channels" else nn.Sequential(*mlp)
            self.turn, self.bias = turn, bias

        def forward(self, x):
            h = self.norms[0](x)
            q, k, v = (m(h).unflatten(-1, (HEADS, -1)).transpose(1, 2) for m in (self.q, self.k, self.v))
            if self.turn is not None:
                q, k = self.turn(q, k)
            if self.bias is None:
                y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            else:
                hidden = torch.full((length, length), float("-inf")).triu(1).to(q)
                y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias(length, length).to(q) + hidden)
            x = x + self.o(y.transpose(1, 2).flatten(-2))
            out = self.channel(self.norms[1](x))
            return x + (out[0] if isinstance(out, tuple) else out)

    return Layer()


def norm(use, library, width):
    from torch import nn

    if use == "batch":

        class Batch(nn.BatchNorm1d):
            def forward(self, x):
                return super().forward(x.flatten(0, 1)).view(x.shape)

        return Batch(width)
    if use == "scale":
        from x_transformers.x_transformers import ScaleNorm

        return ScaleNorm(width)
    if library == "torch":
        return nn.RMSNorm(width, eps=1e-6)
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    return LlamaRMSNorm(width)


def position(use, library, size, length):
    """(turns queries and keys, bias of (queries, keys)); either may be None."""
    import torch

    if library == "torch":
        return None, None
    if library == "rotary-embedding-torch":
        from rotary_embedding_torch import RotaryEmbedding

        rotary = RotaryEmbedding(dim=size)
        return (lambda q, k: (rotary.rotate_queries_or_keys(q), rotary.rotate_queries_or_keys(k))), None
    if library == "transformers":
        from transformers.models.llama.modeling_llama import LlamaConfig, LlamaRotaryEmbedding, apply_rotary_pos_emb

        made = LlamaRotaryEmbedding(LlamaConfig(hidden_size=size * HEADS, num_attention_heads=HEADS))
        places = torch.arange(length)[None]
        return (lambda q, k: apply_rotary_pos_emb(q, k, *made(q, places))), None
    from x_transformers.x_transformers import AlibiPositionalBias, RelativePositionBias

    if use == "alibi":
        return None, AlibiPositionalBias(heads=HEADS, total_heads=HEADS)
    return None, RelativePositionBias(scale=1.0, causal=True, heads=HEADS)


def channel(use, library, width):
    import torch

    if use == "product_key_experts":
        from PEER_pytorch import PEER

        # competing scores are a softmax over 16 experts of each head; without them the package takes the best one alone
        sizes = {"heads": 4, "num_experts": 64**2, "num_experts_per_head": 16, "dim_key": 32}
        return PEER(dim=width, pre_rmsnorm=False, non_competing_scores=False, **sizes)
    if use == "moe":
        from transformers.models.mixtral.modeling_mixtral import MixtralConfig, MixtralSparseMoeBlock

        config = MixtralConfig(hidden_size=width, intermediate_size=4 * width)
        config.num_local_experts, config.num_experts_per_tok = 8, 2
        block = MixtralSparseMoeBlock(config)
        for weight in block.parameters():  # left as memory was: routed by it, every token may find the same expert
            torch.nn.init.normal_(weight, std=0.02)
        return block
    from transformers.models.llama.modeling_llama import LlamaConfig, LlamaMLP

    return LlamaMLP(LlamaConfig(hidden_size=width, intermediate_size=8 * ((8 * width // 3 + 7) // 8)))


if __name__ == "__main__":
    serve(load)
