"""What encoders after BERT have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..family import Plan, Reader
from ..options import Options, activation
from ..rules import Rule, each, kept, renamed, same, shaped, tied

TABLE = "embeddings.word_embeddings.weight"


# ---- bodies


def post_norm(
    c: Options,
    *,
    mixer: dict[str, Any],
    embed: dict[str, Any],
    eps: float = 1e-12,
    vocab: int = 30522,
    width: int = 768,
    hidden: int = 3072,
    act: str = "gelu",
    places: int | None = None,
    offset: int = 0,
) -> dict[str, Any]:
    """A post-norm encoder with BERT's layer: attention, then a two-layer network, a norm after each sum.

    `places` learned positions after `offset` unused rows of their table; `eps`, `vocab`, `width`, `hidden` and `act` are
    what stands for options that a config leaves out.
    """
    c.only("is_decoder", False)
    c.only("add_cross_attention", False)
    c.only("position_embedding_type", "absolute")
    norm = {"use": "layer", "eps": c.number("layer_norm_eps", eps)}
    channel = {"use": "mlp", "hidden": c.size("intermediate_size", hidden), "activation": activation(c, default=act)}
    spec = {
        "width": c.size("hidden_size", width),
        "residual": "post",
        "norm": norm,
        "embed": {"use": "tokens", "vocab": c.size("vocab_size", vocab), "norm": norm, **embed},
        "schedule": [{"repeat": c.size("num_hidden_layers", 12), "mixer": mixer, "channel": channel}],
    }
    if places is not None:
        spec["position"] = {"use": "learned", "length": places, **({"offset": offset} if offset else {})}
    return spec


def attention(c: Options, heads: int = 12, **more: Any) -> dict[str, Any]:
    """BERT's self-attention: biases everywhere."""
    return {"use": "attention", "heads": c.size("num_attention_heads", heads), "bias": True, **more}


def embeddings(*, types: bool = True, places: bool = True) -> list[Rule]:
    """The tensors of BERT's embedding: tables of words, types and places, and the norm."""
    rules = [same("embed.table.weight", TABLE), same("embed.norm.*", "embeddings.LayerNorm.*")]
    if types:
        rules.append(same("embed.types.weight", "embeddings.token_type_embeddings.weight"))
    if places:
        rules.append(same("embed.position.table", "embeddings.position_embeddings.weight"))
    return rules


def bert_layers(c: Options) -> list[Rule]:
    """The tensors of BERT's encoder layers: `encoder.layer.{i}. ...`."""
    return each(c.size("num_hidden_layers", 12), *bert_layer("trunk.layers.{i}.", "encoder.layer.{i}."))


def bert_layer(here: str, there: str, mixer: str = "mixer") -> list[Rule]:
    """Those of one layer; `mixer` is where our attention stands in it."""
    return [
        same(f"{here}{mixer}.q.*", f"{there}attention.self.query.*"),
        same(f"{here}{mixer}.k.*", f"{there}attention.self.key.*"),
        same(f"{here}{mixer}.v.*", f"{there}attention.self.value.*"),
        same(f"{here}{mixer}.o.*", f"{there}attention.output.dense.*"),
        same(f"{here}residual.norms.0.*", f"{there}attention.output.LayerNorm.*"),
        *feed_forward(here, there),
    ]


def feed_forward(here: str, there: str) -> list[Rule]:
    return [
        same(f"{here}channel.up.*", f"{there}intermediate.dense.*"),
        same(f"{here}channel.down.*", f"{there}output.dense.*"),
        same(f"{here}residual.norms.1.*", f"{there}output.LayerNorm.*"),
    ]


def value_kernels(c: Options, heads: int, size: int | None) -> list[Rule]:
    """The kernels of each layer's convolution along the values, where it has one."""
    if size is None:
        return []
    names = "trunk.layers.{i}.mixer.kernel", "encoder.layer.{i}.attention.self.conv.weight"
    return each(c.size("num_hidden_layers", 12), shaped(*names, (heads, size), (heads, 1, size, 1)))


# ---- heads: readers over the reader of a body, whose tensors stand behind a prefix


def plain(body: Reader, pooler: str | None = None) -> Reader:
    """The model without a task: answers with its pooled first token (`model.hidden` gives the tokens), or with its
    tokens where it has no pooler. In a sentence-transformers folder it answers with the sentence's vector, and the
    pooler, which that has no use for, is kept.
    """

    def read(c: Options) -> Plan:
        spec, rules = body(c)
        pooling = c.get("sentence_pooling")
        if pooling is not None:
            head = {"use": "pooled", "pool": pooling, "unit": c.flag("sentence_unit")}
            return Plan({**spec, "head": head}, [*rules, *([kept(f"{pooler}.*", optional=True)] if pooler else [])])
        if pooler is None:
            return Plan(spec, rules)
        head = {"use": "pooled", "pool": "first", "size": spec["width"], "activation": "tanh"}
        return Plan({**spec, "head": head}, [*rules, same("head.map.*", f"{pooler}.*")])

    return read


def masked(
    body: Reader,
    prefix: str,
    *,
    dense: str = "cls.predictions.transform.dense",
    norm: str = "cls.predictions.transform.LayerNorm",
    out: str = "cls.predictions.decoder",
    bias: str | None = "cls.predictions.bias",
    act: str | None = None,
    aside: tuple[str, ...] = ("pooler.dense",),
) -> Reader:
    """A masked-LM head: dense, activation (`act`, default the body's), norm, the tied table, an offset.

    `bias` is a second name of the offset. Tensors `aside` of the body may be there and are kept beside the model.
    """

    def read(c: Options) -> Plan:
        spec, rules = body(c)
        tie = c.flag("tie_word_embeddings", True)
        head = {
            "use": "lm", "vocab": spec["embed"]["vocab"], "transform": spec["norm"], "bias": True, "tie": tie,
            "size": spec["embed"].get("size"), "activation": act or _activation(spec),
        }  # fmt: skip
        ends = [same("head.dense.*", f"{dense}.*"), same("head.norm.*", f"{norm}.*")]
        if bias is None or not tie:
            ends.append(same("head.bias", f"{out}.bias"))
        else:
            ends += [same("head.bias", bias), tied(f"{out}.bias", bias)]
        if bias is not None and not tie:
            ends.append(kept(bias, optional=True))
        ends.append(tied(f"{out}.weight", prefix + TABLE) if tie else same("head.table", f"{out}.weight"))
        return Plan({**spec, "head": head}, [*_behind(prefix, rules, aside), *ends])

    return read


def pretraining(body: Reader, prefix: str, aside: tuple[str, ...] = ("pooler.dense",)) -> Reader:
    """BERT's masked-LM head, whose files may bring the next-sentence head too: it is kept beside the model."""
    read = masked(body, prefix, aside=aside)

    def whole(c: Options) -> Plan:
        spec, rules = read(c)
        return Plan(spec, [*rules, kept("cls.seq_relationship.*", optional=True)])

    return whole


def classified(
    body: Reader,
    prefix: str,
    *,
    dense: str = "classifier.dense",
    out: str = "classifier.out_proj",
    act: str | None = None,
    aside: tuple[str, ...] = ("pooler.dense",),
) -> Reader:
    """One class per text from its first token, with a layer between (`act`, default the body's activation)."""

    def read(c: Options) -> Plan:
        spec, rules = body(c)
        head = {
            "use": "classify", "classes": labels(c), "pool": "first", "hidden": spec["width"],
            "activation": act or _activation(spec),
        }  # fmt: skip
        ends = [same("head.dense.*", f"{dense}.*"), same("head.out.*", f"{out}.*")]
        return Plan({**spec, "head": head}, [*_behind(prefix, rules, aside), *ends])

    return read


def tagged(body: Reader, prefix: str, aside: tuple[str, ...]) -> Reader:
    """One class per token."""

    def read(c: Options) -> Plan:
        spec, rules = body(c)
        head = {"use": "tag", "classes": labels(c)}
        return Plan({**spec, "head": head}, [*_behind(prefix, rules, aside), same("head.out.*", "classifier.*")])

    return read


def answering(body: Reader, prefix: str, aside: tuple[str, ...]) -> Reader:
    """Where an answer starts and ends."""

    def read(c: Options) -> Plan:
        spec, rules = body(c)
        return Plan(
            {**spec, "head": {"use": "span"}}, [*_behind(prefix, rules, aside), same("head.out.*", "qa_outputs.*")]
        )

    return read


def siblings(
    name: str, prefix: str, body: Reader, aside: tuple[str, ...] = ("pooler.dense",), **readers: Reader
) -> Mapping[str, Reader]:
    """The architectures whose heads are the same everywhere, and those given: `ForMaskedLM=...`."""
    common = {
        "ForTokenClassification": tagged(body, prefix, aside),
        "ForQuestionAnswering": answering(body, prefix, aside),
    }
    return {name + kind: reader for kind, reader in {**common, **readers}.items()}


def labels(c: Options) -> int:
    """How many classes the config names."""
    return len(c.get("id2label") or range(c.get("num_labels", 2)))


def _activation(spec: dict[str, Any]) -> str:
    """That of the body's networks."""
    stage = spec["schedule"][0]
    return str(stage.get("pattern", [stage])[0]["channel"]["activation"])


def _behind(prefix: str, rules: list[Rule], aside: tuple[str, ...]) -> list[Rule]:
    return renamed([*rules, *(kept(f"{name}.*", optional=True) for name in aside)], theirs=prefix)
