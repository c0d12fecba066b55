"""Whole models against transformers, on its weights: hidden sizes are tiny, equations are whole."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...core.layout import pack
from ...core.part import config
from ...model.build import build
from ._copy import Rules, carry, public, randomise

Pair = tuple[list[Tensor], list[Tensor]]
VOCAB, WIDTH, ROOM, LENGTHS = 31, 16, 24, (13, 7)
NORM = {"use": "layer", "eps": 1e-12}

ENDS: Rules = (  # what BERT and FNet name alike
    (r"embed\.table\.weight", "{m}.embeddings.word_embeddings.weight"),
    (r"embed\.types\.weight", "{m}.embeddings.token_type_embeddings.weight"),
    (r"embed\.position\.table", "{m}.embeddings.position_embeddings.weight"),
    (r"embed\.norm\.(\w+)", r"{m}.embeddings.LayerNorm.\1"),
    (r"embed\.project\.(\w+)", r"{m}.embeddings.projection.\1"),
    (r"trunk\.layers\.(\d+)\.channel\.up\.(\w+)", r"{m}.encoder.layer.\1.intermediate.dense.\2"),
    (r"trunk\.layers\.(\d+)\.channel\.down\.(\w+)", r"{m}.encoder.layer.\1.output.dense.\2"),
    (r"trunk\.layers\.(\d+)\.residual\.norms\.1\.(\w+)", r"{m}.encoder.layer.\1.output.LayerNorm.\2"),
    (r"head\.dense\.(\w+)", r"cls.predictions.transform.dense.\1"),
    (r"head\.norm\.(\w+)", r"cls.predictions.transform.LayerNorm.\1"),
    (r"head\.bias", "cls.predictions.bias"),
)


def bert(seed: int) -> Pair:
    """Masked-LM answers of BertForPreTraining, with token types and padding."""
    t = public("transformers")
    c = t.BertConfig(
        vocab_size=VOCAB, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=ROOM, attn_implementation="eager",
    )  # fmt: skip
    peer = _peer(t.BertForPreTraining(c), seed)
    mixer = {"use": "attention", "heads": 2, "bias": True}
    ours = _encoder(mixer, {"use": "mlp", "hidden": 32}, types=2)
    own: Rules = (
        (r"trunk\.layers\.(\d+)\.mixer\.q\.(\w+)", r"bert.encoder.layer.\1.attention.self.query.\2"),
        (r"trunk\.layers\.(\d+)\.mixer\.k\.(\w+)", r"bert.encoder.layer.\1.attention.self.key.\2"),
        (r"trunk\.layers\.(\d+)\.mixer\.v\.(\w+)", r"bert.encoder.layer.\1.attention.self.value.\2"),
        (r"trunk\.layers\.(\d+)\.mixer\.o\.(\w+)", r"bert.encoder.layer.\1.attention.output.dense.\2"),
        (r"trunk\.layers\.(\d+)\.residual\.norms\.0\.(\w+)", r"bert.encoder.layer.\1.attention.output.LayerNorm.\2"),
    )
    unread = r"pooler|seq_relationship|decoder"  # next-sentence head, and names of tied tensors
    carry(ours, peer.state_dict(), _of("bert", (*own, *ENDS)), unread)
    x, types, mask = _tokens(seed)
    with torch.no_grad():
        theirs = peer(x, attention_mask=mask, token_type_ids=types).prediction_logits
        mine = ours(torch.stack([x, types], -1), list(LENGTHS))
    return [mine[mask.bool()]], [theirs[mask.bool()]]


def fnet(seed: int) -> Pair:
    """Masked-LM answers of FNetForMaskedLM on full sequences (the peer has no padding mask)."""
    t = public("transformers")
    c = t.FNetConfig(
        vocab_size=VOCAB, hidden_size=WIDTH, num_hidden_layers=2, intermediate_size=32, max_position_embeddings=ROOM,
        use_tpu_fourier_optimizations=False,
    )  # fmt: skip
    peer = _peer(t.FNetForMaskedLM(c), seed)
    ours = _encoder(
        "fourier", {"use": "mlp", "hidden": 32, "activation": "gelu_tanh"}, "gelu_tanh", types=4, size=WIDTH
    )
    own: Rules = (
        (r"trunk\.layers\.(\d+)\.residual\.norms\.0\.(\w+)", r"fnet.encoder.layer.\1.fourier.output.LayerNorm.\2"),
    )
    carry(ours, peer.state_dict(), _of("fnet", (*own, *ENDS)), r"pooler|decoder")
    x, types, _ = _tokens(seed)
    with torch.no_grad():
        return [ours(torch.stack([x, types], -1))], [peer(x, token_type_ids=types).logits]


def modernbert(seed: int) -> Pair:
    """Masked-LM answers of ModernBertForMaskedLM, padded and packed, with both kinds of layer and both bases."""
    t = public("transformers")
    c = t.ModernBertConfig(
        vocab_size=VOCAB, hidden_size=WIDTH, num_hidden_layers=4, num_attention_heads=2, intermediate_size=24,
        local_attention=8, global_attn_every_n_layers=3, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1,
        sep_token_id=2, attn_implementation="eager",
    )  # fmt: skip
    peer = _peer(t.ModernBertForMaskedLM(c), seed)
    wide = {"use": "attention", "heads": 2, "position": {"use": "rope", "base": 160_000}}
    near = {"use": "attention", "heads": 2, "window": 5, "position": {"use": "rope", "base": 10_000}}
    channel, norm = {"use": "glu", "hidden": 24, "activation": "gelu"}, {"use": "layer", "bias": False}
    first = {"mixer": wide, "channel": channel}
    ours = build({
        "width": WIDTH, "norm": norm, "embed": {"use": "tokens", "vocab": VOCAB, "norm": norm},
        "schedule": [first, {"repeat": 2, "mixer": near, "channel": channel}, first],
        "head": {"use": "lm", "vocab": VOCAB, "transform": norm, "bias": True},
    }).double().eval()  # fmt: skip
    with torch.no_grad():  # their first layer has no norm of its own: the embedding's stands for it
        first_layer: Any = ours.trunk.each()[0]
        first_layer.residual.norms[0] = config("norms", "none").build(WIDTH)
    rules: Rules = (
        (r"embed\.table\.weight", "model.embeddings.tok_embeddings.weight"),
        (r"embed\.norm\.weight", "model.embeddings.norm.weight"),
        (r"trunk\.layers\.(\d+)\.mixer\.[qkv]\.weight", r"model.layers.\1.attn.Wqkv.weight"),
        (r"trunk\.layers\.(\d+)\.mixer\.o\.weight", r"model.layers.\1.attn.Wo.weight"),
        (r"trunk\.layers\.(\d+)\.channel\.(gate|up)\.weight", r"model.layers.\1.mlp.Wi.weight"),
        (r"trunk\.layers\.(\d+)\.channel\.down\.weight", r"model.layers.\1.mlp.Wo.weight"),
        (r"trunk\.layers\.(\d+)\.residual\.norms\.0\.weight", r"model.layers.\1.attn_norm.weight"),
        (r"trunk\.layers\.(\d+)\.residual\.norms\.1\.weight", r"model.layers.\1.mlp_norm.weight"),
        (r"trunk\.final\.weight", "model.final_norm.weight"),
        (r"head\.(dense|norm)\.weight", r"head.\1.weight"),
        (r"head\.dense\.bias", "none"),
        (r"head\.bias", "decoder.bias"),
    )
    carry(ours, {**peer.state_dict(), "none": torch.zeros(WIDTH)}, rules, r"decoder\.weight")
    x, _, mask = _tokens(seed)
    with torch.no_grad():
        # One sequence at a time: in a padded batch theirs is nan where a window holds nothing but padding.
        theirs = torch.cat([peer(row[None, :n]).logits[0] for row, n in zip(x, LENGTHS, strict=True)])
        padded = ours(x, list(LENGTHS))[mask.bool()]
        packed = ours(pack([row[:n] for row, n in zip(x, LENGTHS, strict=True)]))[0]
    return [padded, packed], [theirs, theirs.clone()]


def poolformer(seed: int) -> Pair:
    """Class scores of PoolFormerForImageClassification, all four stages."""
    t = public("transformers")
    widths = (8, 16, 16, 24)
    peer = _peer(
        t.PoolFormerForImageClassification(t.PoolFormerConfig(hidden_sizes=list(widths), depths=[1, 2, 1, 1])), seed
    )
    mixer = {"use": "pool", "size": 3}
    stages: list[dict[str, Any]] = [
        {"repeat": n, "width": w, "reduce": "downsample", "mixer": mixer, "channel": "mlp"}
        for n, w in zip((1, 2, 1, 1), widths, strict=True)
    ]
    del stages[0]["reduce"], stages[0]["width"]
    ours = build({
        "width": 8, "embed": {"use": "patches", "size": 7, "stride": 4, "padding": 2, "channels": 3},
        "norm": "group", "residual": "scale", "schedule": stages,
        "head": {"use": "classify", "classes": 2, "pool": "mean"},
    }).double().eval()  # fmt: skip
    block = r"poolformer.encoder.block.{}.{}."
    rules: list[tuple[str, str]] = [
        (r"embed\.map\.(\w+)", r"poolformer.encoder.patch_embeddings.0.projection.\1"),
        (r"trunk\.final\.(\w+)", r"norm.\1"),
        (r"head\.out\.(\w+)", r"classifier.\1"),
    ]
    for layer, (stage, turn) in enumerate([(0, 0), (1, 0), (1, 1), (2, 0), (3, 0)]):
        here, there = rf"trunk\.layers\.{layer}\.", block.format(stage, turn)
        rules += [
            (rf"{here}channel\.up\.(\w+)", rf"{there}output.conv1.\1"),
            (rf"{here}channel\.down\.(\w+)", rf"{there}output.conv2.\1"),
            (rf"{here}residual\.norms\.0\.(\w+)", rf"{there}before_norm.\1"),
            (rf"{here}residual\.norms\.1\.(\w+)", rf"{there}after_norm.\1"),
            (rf"{here}residual\.gamma\.0", rf"{there}layer_scale_1"),
            (rf"{here}residual\.gamma\.1", rf"{there}layer_scale_2"),
            (rf"trunk\.reducers\.{layer}\.conv\.(\w+)", rf"poolformer.encoder.patch_embeddings.{stage}.projection.\1"),
        ]
    carry(ours, peer.state_dict(), rules)
    image = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    with torch.no_grad():
        return [ours(image)], [peer(image).logits]


def _encoder(mixer: Any, channel: Any, activation: str = "gelu", **embed: Any) -> Any:
    """A post-norm encoder with learned positions and BERT's masked-LM head, in float64."""
    return build({
        "width": WIDTH, "residual": "post", "norm": NORM, "position": {"use": "learned", "length": ROOM},
        "embed": {"use": "tokens", "vocab": VOCAB, "norm": NORM, **embed},
        "schedule": [{"repeat": 2, "mixer": mixer, "channel": channel}],
        "head": {"use": "lm", "vocab": VOCAB, "transform": NORM, "bias": True, "activation": activation},
    }).double().eval()  # fmt: skip


def _peer(model: Any, seed: int) -> Any:
    model = model.double().eval()
    randomise(model, seed)
    return model


def _of(name: str, rules: Rules) -> Rules:
    return tuple((pattern, target.replace("{m}", name)) for pattern, target in rules)


def _tokens(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """(ids, types, 1 where real), each (2, 13): the second row is shorter. Id 0 is left out, as padding."""
    rng = torch.Generator().manual_seed(seed)
    x, types = torch.randint(3, VOCAB, (2, 13), generator=rng), torch.randint(0, 2, (2, 13), generator=rng)
    return x, types, (torch.arange(13)[None] < torch.tensor(LENGTHS)[:, None]).long()
