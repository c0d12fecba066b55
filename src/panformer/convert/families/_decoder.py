"""What causal decoders have in common: heads, rotary positions, windows, and Llama's layer."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from ...core.errors import InputError
from ..family import Plan, Reader
from ..options import Options, activation
from ..rules import Rule, each, per_head, renamed, same, shaped, tied

HERE = "trunk.layers.{i}."


# ---- heads


def causal(
    body: Reader,
    prefix: str = "model.",
    table: str = "embed_tokens.weight",
    tie: bool = False,
    out: str = "lm_head",
    more: Callable[[Options], dict[str, Any]] | None = None,
) -> Reader:
    """`ForCausalLM`: the body, named with a prefix, and the map `out`, which may be the table once more."""

    def read(c: Options) -> Plan:
        spec, rules = body(c)
        shared = c.flag("tie_word_embeddings", tie)
        end = tied(f"{out}.weight", prefix + table) if shared else same("head.table", f"{out}.weight")
        head = {"use": "lm", "vocab": spec["embed"]["vocab"], "tie": shared, **(more(c) if more else {})}
        return Plan({**spec, "head": head}, [*renamed(rules, theirs=prefix), end])

    return read


def classified(body: Reader, prefix: str = "model.") -> Reader:
    """`ForSequenceClassification`: one class per sequence, from its last token."""

    def read(c: Options) -> Plan:
        spec, rules = body(c)
        head = {"use": "classify", "classes": labels(c), "pool": "last", "bias": False}
        return Plan({**spec, "head": head}, [*renamed(rules, theirs=prefix), same("head.out.weight", "score.weight")])

    return read


def tagged(body: Reader, prefix: str = "model.", name: str = "score") -> Reader:
    """`ForTokenClassification`: one class per token."""

    def read(c: Options) -> Plan:
        spec, rules = body(c)
        head = {"use": "tag", "classes": labels(c)}
        return Plan({**spec, "head": head}, [*renamed(rules, theirs=prefix), same("head.out.*", f"{name}.*")])

    return read


def spanned(body: Reader, prefix: str = "model.") -> Reader:
    """`ForQuestionAnswering`: where an answer starts and ends."""

    def read(c: Options) -> Plan:
        spec, rules = body(c)
        ends = [*renamed(rules, theirs=prefix), same("head.out.*", "qa_outputs.*")]
        return Plan({**spec, "head": {"use": "span"}}, ends)

    return read


def labels(c: Options) -> int:
    """How many classes the config names."""
    return len(c.get("id2label") or range(c.get("num_labels", 2)))


# ---- layers


def fused_layer(heads: int, there: str, attention: str) -> list[Rule]:
    """A layer as GPT-NeoX and BLOOM write it: queries, keys and values head by head in one matrix."""
    return [
        per_head([f"{HERE}mixer.{m}.*" for m in "qkv"], f"{there}{attention}.query_key_value.*", heads),
        same(f"{HERE}mixer.o.*", f"{there}{attention}.dense.*"),
        same(f"{HERE}channel.up.*", f"{there}mlp.dense_h_to_4h.*"),
        same(f"{HERE}channel.down.*", f"{there}mlp.dense_4h_to_h.*"),
        same(f"{HERE}residual.norms.0.*", f"{there}input_layernorm.*"),
        same(f"{HERE}residual.norms.1.*", f"{there}post_attention_layernorm.*"),
    ]


def state_space(depth: int, channels: int, kernel: int, offset: bool, *own: tuple[str, str]) -> list[Rule]:
    """All tensors of a body of Mamba layers; `own` are (ours, theirs) that only one of its versions has."""
    here, there = f"{HERE}mixer.", "layers.{i}.mixer."
    names = (
        ("input.*", "in_proj.*"),
        *([("offset", "conv1d.bias")] if offset else []),
        *own,
        ("a_log", "A_log"),
        ("skip", "D"),
        ("output.*", "out_proj.*"),
    )
    return [
        same("embed.table.weight", "embeddings.weight"),
        same("trunk.final.weight", "norm_f.weight"),
        *each(
            depth,
            shaped(f"{here}filter", f"{there}conv1d.weight", (channels, kernel), (channels, 1, kernel)),
            *(same(f"{here}{ours}", f"{there}{theirs}") for ours, theirs in names),
            same(f"{HERE}residual.norms.0.weight", "layers.{i}.norm.weight"),
        ),
    ]


# ---- positions and windows


def rope(c: Options, base: float = 10_000.0, size: int | None = None, partial: float = 1.0) -> dict[str, Any]:
    """Rotary positions, from each of the ways that configs have written them.

    `partial` is the default share of the head width that is turned; where the family can turn less than all, the head
    width is given as `size`.
    """
    given = {"rope_theta": c.get("rope_theta", base), "partial_rotary_factor": c.get("partial_rotary_factor", partial)}
    given |= {k: v for k, v in (c.get("rope_parameters") or c.get("rope_scaling") or {}).items() if v is not None}
    c.skip("rope_parameters", "rope_scaling", "max_position_embeddings")
    kind = given.pop("rope_type", given.pop("type", "default"))
    given.pop("type", None)
    out = {"use": "rope", "base": float(given.pop("rope_theta"))}
    share = given.pop("partial_rotary_factor")
    if size is not None:
        out["partial"] = int(size * share) / size
    elif share != 1:
        raise InputError(f"{c.where}: partial_rotary_factor = {share!r} is not read by this family")
    if kind not in ("default", "linear", "llama3"):
        raise InputError(f"{c.where}: rope type {kind!r} is not supported; this converter reads {_STRETCHED}")
    if kind != "default":
        out["factor"] = float(given.pop("factor"))
    if kind == "llama3":
        trained = given.pop("original_max_position_embeddings", None) or c.size("max_position_embeddings")
        out |= {"trained": trained, "low": given.pop("low_freq_factor"), "high": given.pop("high_freq_factor")}
    if given:
        raise InputError(f"{c.where}: rope options that this converter does not know: {', '.join(sorted(given))}")
    return out


_STRETCHED = "'default', 'linear' or 'llama3'"


def windows(c: Options, n: int, local: Callable[[int], bool]) -> list[int | None]:
    """How far each of `n` layers looks back, by `layer_types`, or by `local` where the config leaves them out."""
    kinds = c.get("layer_types") or ["sliding_attention" if local(i) else "full_attention" for i in range(n)]
    known = {"full_attention": None, "sliding_attention": c.get("sliding_window")}
    odd = sorted(set(kinds) - set(known))
    if odd or len(kinds) != n:
        raise InputError(
            f"{c.where}: layer_types = {odd or kinds} is not supported; known: {', '.join(known)}, {n} times"
        )
    return [known[kind] for kind in kinds]


def schedule(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The layers as the shortest pattern that is repeated, or as runs of equal ones."""
    n = len(layers)
    for size in range(1, n // 2 + 1):
        if n % size == 0 and layers == layers[:size] * (n // size):
            return [{"repeat": n // size, "pattern": layers[:size]}]
    runs = [(layer, len(list(equal))) for layer, equal in groupby(layers)]
    return [{"repeat": repeat, "pattern": [layer]} for layer, repeat in runs]


# ---- Llama's layer


def attention(c: Options, base: float = 10_000.0, **more: Any) -> dict[str, Any]:
    """Grouped-query attention with rotary positions."""
    heads = c.size("num_attention_heads")
    return {
        "use": "attention", "heads": heads, "kv_heads": c.get("num_key_value_heads") or heads,
        "head_width": c.get("head_dim"), "position": rope(c, base), **more,
    }  # fmt: skip


def glu(c: Options, key: str = "hidden_act", **more: Any) -> dict[str, Any]:
    return {"use": "glu", "hidden": c.size("intermediate_size"), "activation": activation(c, key), **more}


def rms(c: Options, **more: Any) -> dict[str, Any]:
    return {"use": "rms", "eps": c.number("rms_norm_eps"), **more}


def decoder(c: Options, layers: list[dict[str, Any]], rules: list[Rule], **more: Any) -> Plan:
    """A pre-norm decoder of these layers between Llama's table and its final norm."""
    spec = {
        "width": c.size("hidden_size"), "causal": True, "norm": rms(c), "schedule": schedule(layers),
        "embed": {"use": "tokens", "vocab": c.size("vocab_size")}, **more,
    }  # fmt: skip
    ends = [same("embed.table.weight", "embed_tokens.weight"), same("trunk.final.weight", "norm.weight")]
    return Plan(spec, [*rules, *ends])


def llama_layers(n: int, *more: Rule) -> list[Rule]:
    """The tensors of Llama's layers; `more` are those that a layer has besides."""
    return each(n, *attention_rules(), *glu_rules(), *norm_rules(), *more)


def attention_rules() -> list[Rule]:
    return [same(f"{HERE}mixer.{n}.*", f"layers.{{i}}.self_attn.{n}_proj.*") for n in "qkvo"]


def glu_rules() -> list[Rule]:
    return [same(f"{HERE}channel.{n}.*", f"layers.{{i}}.mlp.{n}_proj.*") for n in ("gate", "up", "down")]


def expert_rules() -> list[Rule]:
    """Gated experts, whose first two matrices stand one below the other."""

    def read(ts: list[Tensor]) -> list[Tensor]:
        return [t.contiguous() for t in ts[0].chunk(2, 1)]

    ours, theirs = f"{HERE}channel.", "layers.{i}.mlp.experts."
    pair = Rule((f"{ours}gate", f"{ours}up"), (f"{theirs}gate_up_proj",), read, lambda ts: [torch.cat(ts, 1)])
    return [pair, same(f"{ours}down", f"{theirs}down_proj")]


def norm_rules() -> list[Rule]:
    names = ("input_layernorm", "post_attention_layernorm")
    return [same(f"{HERE}residual.norms.{i}.weight", f"layers.{{i}}.{name}.weight") for i, name in enumerate(names)]
