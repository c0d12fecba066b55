"""The public implementations that benchmarks run beside ours, on the same weights where that is possible."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import require
from ..model.model import Model


def gpt2(layers: int, width: int, heads: int, vocab: int, length: int) -> Any:
    """transformers' GPT-2 with fused attention, dropout off."""
    hf = require("transformers", "hf")
    config = hf.GPT2Config(
        n_layer=layers, n_embd=width, n_head=heads, vocab_size=vocab, n_positions=length,
        attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0, use_cache=False,
    )  # fmt: skip
    config._attn_implementation = "sdpa"
    return hf.GPT2LMHeadModel(config)


def bert(layers: int, width: int, heads: int, vocab: int, length: int) -> Any:
    """transformers' BERT encoder with fused attention, without its pooler."""
    hf = require("transformers", "hf")
    config = hf.BertConfig(
        num_hidden_layers=layers, hidden_size=width, num_attention_heads=heads, vocab_size=vocab,
        intermediate_size=4 * width, max_position_embeddings=length,
        attention_probs_dropout_prob=0.0, hidden_dropout_prob=0.0,
    )  # fmt: skip
    config._attn_implementation = "sdpa"
    return hf.BertModel(config, add_pooling_layer=False).eval()


class Gpt(nn.Module):
    """GPT-2 with the weights of ours, written as plainly as nanoGPT (Karpathy 2022): tokens (B, T) -> loss.

    One map for queries, keys and values, torch's fused attention, the table shared with the last map.
    """

    def __init__(self, ours: Model) -> None:
        super().__init__()
        embed: Any = ours.embed
        self.table = nn.Embedding.from_pretrained(embed.table.weight.detach().clone(), freeze=False)
        self.place = nn.Parameter(embed.position.table.detach().clone())
        self.blocks = nn.ModuleList(Block(layer) for layer in ours.trunk.each())
        self.norm = _norm(ours.trunk.final)

    def forward(self, x: Tensor) -> Tensor:
        h = self.table(x) + self.place[: x.shape[1]]
        for block in self.blocks:
            h = block(h)
        return next_token(F.linear(self.norm(h), self.table.weight), x)


class Block(nn.Module):
    """One layer of `Gpt`."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        mixer, channel = layer.mixer, layer.channel
        self.heads = mixer.heads
        self.norms = nn.ModuleList(_norm(norm) for norm in layer.residual.norms)
        self.qkv = _map([mixer.q, mixer.k, mixer.v])
        self.o, self.up, self.down = (_map([m]) for m in (mixer.o, channel.up, channel.down))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(self.norms[0](x)).chunk(3, -1)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(y.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norms[1](x)), approximate="tanh"))


def next_token(logits: Tensor, x: Tensor) -> Tensor:
    """Mean -log p(token t+1 | tokens up to t), as training scripts write it."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), x[:, 1:].flatten())


def _map(maps: list[Any]) -> nn.Linear:
    made = nn.Linear(maps[0].in_features, sum(m.out_features for m in maps))
    made.weight.data.copy_(torch.cat([m.weight.data for m in maps]))
    made.bias.data.copy_(torch.cat([m.bias.data for m in maps]))
    return made


def _norm(norm: Any) -> nn.LayerNorm:
    made = nn.LayerNorm(len(norm.weight), norm.eps)
    made.weight.data.copy_(norm.weight.data)
    made.bias.data.copy_(norm.bias.data)
    return made


def for_litgpt(ours: Model) -> dict[str, Tensor]:
    """Our weights by the names of litgpt's GPT."""
    own = dict(ours.named_parameters())
    found: dict[str, Tensor] = {}

    def put(name: str, *sources: str) -> None:
        for kind in ("weight", "bias"):
            found[f"{name}.{kind}"] = torch.cat([own.pop(f"{source}.{kind}").data for source in sources])

    found["transformer.wte.weight"] = own.pop("embed.table.weight").data
    found["lm_head.weight"] = own.pop("head.table").data
    put("transformer.ln_f", "trunk.final")
    for i in range(len(ours.trunk.each())):
        at, to = f"trunk.layers.{i}", f"transformer.h.{i}"
        put(f"{to}.norm_1", f"{at}.residual.norms.0")
        put(f"{to}.norm_2", f"{at}.residual.norms.1")
        put(f"{to}.attn.qkv", *(f"{at}.mixer.{name}" for name in "qkv"))
        put(f"{to}.attn.proj", f"{at}.mixer.o")
        put(f"{to}.mlp.fc", f"{at}.channel.up")
        put(f"{to}.mlp.proj", f"{at}.channel.down")
    assert not own, f"not copied: {sorted(own)}"
    return found


def copy_gpt2(peer: Any, ours: Model) -> None:
    """The peer's weights into the `gpt2` preset: its linear maps are stored transposed and fused."""
    own = dict(ours.named_parameters())

    def put(name: str, value: Tensor) -> None:
        own.pop(name).data.copy_(value)

    source = peer.transformer
    put("embed.table.weight", source.wte.weight)
    put("embed.position.table", source.wpe.weight)
    for i, block in enumerate(source.h):
        at = f"trunk.layers.{i}."
        for j, norm in enumerate((block.ln_1, block.ln_2)):
            put(f"{at}residual.norms.{j}.weight", norm.weight)
            put(f"{at}residual.norms.{j}.bias", norm.bias)
        pieces = zip("qkv", block.attn.c_attn.weight.T.chunk(3), block.attn.c_attn.bias.chunk(3), strict=True)
        for name, weight, bias in pieces:
            put(f"{at}mixer.{name}.weight", weight)
            put(f"{at}mixer.{name}.bias", bias)
        for name, conv in (
            ("mixer.o", block.attn.c_proj),
            ("channel.up", block.mlp.c_fc),
            ("channel.down", block.mlp.c_proj),
        ):
            put(f"{at}{name}.weight", conv.weight.T)
            put(f"{at}{name}.bias", conv.bias)
    put("trunk.final.weight", source.ln_f.weight)
    put("trunk.final.bias", source.ln_f.bias)
    assert not own, f"not copied: {sorted(own)}"


def copy_bert(peer: Any, ours: Model) -> None:
    """The peer's weights into the `bert` preset without its head."""
    own = dict(ours.named_parameters())

    def put(name: str, module: Any) -> None:
        own.pop(f"{name}.weight").data.copy_(module.weight)
        own.pop(f"{name}.bias").data.copy_(module.bias)

    source = peer.embeddings
    own.pop("embed.table.weight").data.copy_(source.word_embeddings.weight)
    own.pop("embed.types.weight").data.copy_(source.token_type_embeddings.weight)
    own.pop("embed.position.table").data.copy_(source.position_embeddings.weight)
    put("embed.norm", source.LayerNorm)
    for i, block in enumerate(peer.encoder.layer):
        at, attention = f"trunk.layers.{i}.", block.attention
        for name, module in zip("qkv", (attention.self.query, attention.self.key, attention.self.value), strict=True):
            put(f"{at}mixer.{name}", module)
        put(f"{at}mixer.o", attention.output.dense)
        put(f"{at}residual.norms.0", attention.output.LayerNorm)
        put(f"{at}channel.up", block.intermediate.dense)
        put(f"{at}channel.down", block.output.dense)
        put(f"{at}residual.norms.1", block.output.LayerNorm)
    assert not own, f"not copied: {sorted(own)}"
