"""Our models as models of `transformers`: one wrapper, and a name for each kind of head."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, GenerationMixin, PreTrainedModel

from ..core.errors import InputError
from ..generate.marks import FILE, marks
from ..model.build import build
from ..model.io import without_draws
from ..model.model import Model, Source
from .cache import StreamCache, streams
from .config import PanformerConfig
from .folder import fill_in, travels, writing
from .inputs import NAMES, batch
from .loss import causal, loss
from .outputs import Answer, Encoded, Encoder
from .steps import follow


class PanformerPreTrainedModel(PreTrainedModel):
    """A whole panformer model, head included, as `self.model`: our tensor names after one prefix."""

    config_class = PanformerConfig
    base_model_prefix = "model"
    accepts_loss_kwargs = False  # the loss of a batch is its own mean
    heads: ClassVar[tuple[str, ...]] = ()  # which this class is for; none named: any
    encodes: ClassVar[bool | None] = False  # whether it is for models with an encoder; None: either

    def __init__(self, config: PanformerConfig) -> None:
        super().__init__(config)
        self.loading = torch.empty(0).is_meta  # from_pretrained builds without memory and fills afterwards
        with _as_ever(self.loading) as dtype:
            self.model: Model = build(config.read(), seed=0 if self.loading else None).to(dtype)
        if self.loading:
            self.model.travels = travels(config.name_or_path)
        self.constants = {n: b.clone() for n, b in self.named_non_persistent_buffers()}
        self.main_input_name = NAMES[(self.model.encoder or self.model).embed.reads]
        why = self.misfit(self.model)
        if why:
            raise InputError(f"{type(self).__name__}: {why}")
        self.register_load_state_dict_pre_hook(fill_in)
        self.post_init()
        follow(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        follow(self)  # a copy is another model

    @classmethod
    def misfit(cls, model: Model) -> str | None:
        """Why this class is not for `model`, or None."""
        use = model.head.use() if model.head is not None else "none"
        if cls.heads and use not in cls.heads:
            return f"the head of this model is {use}, not {' or '.join(cls.heads)}"
        if cls.encodes is not None and cls.encodes != (model.encoder is not None):
            return f"this model has {'no' if cls.encodes else 'an'} encoder"
        return None

    def initialize_weights(self) -> None:
        """Parts draw their own weights. After loading, none may be left open, and unsaved constants come back.

        Weights are then views of the file, where they lie as it happens; sums differ by the last bit unless they lie
        as torch lays them.
        """
        if not self.loading:
            return
        state = self.model.state_dict(keep_vars=True)
        left = [n for n, v in state.items() if not getattr(v, "_is_hf_initialized", False)]
        if left:
            raise InputError(f"{self.config.name_or_path}: holds no weights for {', '.join(left[:5])}")
        for value in state.values():
            if value.device.type == "cpu" and value.data_ptr() % 64:
                value.data = value.data.clone()
        for name, value in self.constants.items():
            self.get_buffer(name).copy_(value)

    def save_pretrained(  # type: ignore[override]
        self,
        save_directory: str | Path,
        is_main_process: bool = True,
        state_dict: dict[str, Tensor] | None = None,
        max_shard_size: int | str = "50GB",
    ) -> None:
        """Write a model folder into `save_directory`, beside what else lies there; its manifest comes last.

        Where a tokenizer is written over ours afterwards, `seal` renews the manifest.
        """
        folder = Path(save_directory)
        with writing(self.model, folder, state_dict or self.state_dict(), is_main_process) as ours:
            super().save_pretrained(folder, is_main_process, ours, max_shard_size=max_shard_size)

    def get_input_embeddings(self) -> nn.Module:
        table: nn.Module | None = getattr(self.model.embed, "table", None)
        if table is None:
            raise NotImplementedError(f"embed {self.model.embed.use()!r} has no table")
        return table

    def resize_token_embeddings(  # type: ignore[override]
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Module:
        """The table as it is; another size is another spec and refused."""
        if new_num_tokens not in (None, self.config.vocab_size) or pad_to_multiple_of is not None:
            raise InputError(f"the spec of this model has {self.config.vocab_size} ids; write another spec")
        return self.get_input_embeddings()

    def get_encoder(self, modality: str | None = None) -> Encoder:
        """What `generate` calls once for the memory of an encoder-decoder."""
        if self.model.encoder is None:
            raise InputError("this model has no encoder")
        return Encoder(self.model.encoder)

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """(B, T): the start token and all labels but the last; what is not asked for reads as padding."""
        told = getattr(self, "generation_config", None)
        start = getattr(told, "decoder_start_token_id", None)
        if start is None:
            raise InputError("labels: set model.generation_config.decoder_start_token_id, or give decoder_input_ids")
        moved = labels.roll(1, 1)
        moved[:, 0] = start
        return moved.masked_fill(moved < 0, getattr(told, "pad_token_id", None) or 0)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        input_values: Tensor | None = None,
        pixel_values: Tensor | None = None,
        labels: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Encoded | None = None,
        past_key_values: StreamCache | None = None,
        use_cache: bool | None = None,
        return_dict: bool | None = None,
    ) -> Answer | tuple[Any, ...]:
        """Tokens (B, T), values (B, T, C), images or videos, as the embed reads; masks are padded on one side.

        With an encoder these are its input and `decoder_input_ids` (B, T) the model's own; without them `labels`
        are read, moved on by one. `use_cache` gives `past_key_values` where the model can read in pieces.
        """
        raw = {"input_ids": input_ids, "input_values": input_values, "pixel_values": pixel_values}
        core, past = self.model, past_key_values
        source: Source | None = None
        if past is not None and not isinstance(past, StreamCache):
            raise InputError(f"past_key_values: this model goes on with the cache it made, not a {type(past).__name__}")
        if core.encoder is not None:
            if encoder_outputs is not None:
                source = encoder_outputs.memory()
            elif past is None:
                source = batch(core.encoder, raw, attention_mask, token_type_ids)
            if decoder_input_ids is None and labels is not None:
                decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
            raw, attention_mask, token_type_ids = {"input_ids": decoder_input_ids}, decoder_attention_mask, None
        x = batch(core, raw, attention_mask, token_type_ids, past is not None)
        if past is None and use_cache and labels is None and streams(core):
            past = StreamCache(core, len(x.x), source)
        if past is None:
            run = core.run(x, None, source)
            told: dict[str, Any] = {"last_hidden_state": run.hidden}
            if core.head is not None:
                told["pooler_output" if core.head.use() == "pooled" else "logits"] = run.out
            out = Answer(loss=None if labels is None else loss(core, run, labels), **told)
        elif labels is not None:
            raise InputError("labels: a loss needs the whole text at once; leave past_key_values out")
        else:
            out = Answer(logits=past.read(x), past_key_values=past)
        whole = self.config.return_dict if return_dict is None else return_dict
        return out if whole else out.to_tuple()


class PanformerModel(PanformerPreTrainedModel):
    """Any model: its hidden vectors, and what its head answers."""

    encodes = None


class PanformerForMaskedLM(PanformerPreTrainedModel):
    """labels (B, T): ids, -100 where nothing is asked."""

    heads = ("lm",)

    @classmethod
    def misfit(cls, model: Model) -> str | None:
        return super().misfit(model) or ("this model looks only back" if causal(model) else None)


class PanformerForSequenceClassification(PanformerPreTrainedModel):
    """labels (B,): classes; numbers for a `regress` head."""

    heads = ("classify", "regress")


class PanformerForTokenClassification(PanformerPreTrainedModel):
    """labels (B, T): classes, -100 where nothing is asked."""

    heads = ("tag",)


class _Writing(PanformerPreTrainedModel, GenerationMixin):
    """What `generate` asks of a model. One that cannot read in pieces reads the whole text again for every token."""

    heads = ("lm",)
    _is_stateful = True  # the state cannot be cut back, as assisted decoding would have to

    @classmethod
    def misfit(cls, model: Model) -> str | None:
        return super().misfit(model) or (None if causal(model) else "this model looks ahead; it cannot write on")

    @property
    def generation_config(self) -> GenerationConfig:
        """Where it does not say how texts begin and end, the generation.json of the model does."""
        told: GenerationConfig = self.__dict__["how"]
        return told

    @generation_config.setter
    def generation_config(self, value: GenerationConfig) -> None:
        self.__dict__["how"] = value
        travels = self.model.travels if "model" in self._modules else {}
        if FILE not in travels:
            return
        known = marks(json.loads(travels[FILE]))
        start = known.start[0] if len(known.start) == 1 else None if known.start else known.pad
        ids = {"eos": list(known.eos) or None, "pad": known.pad, "bos": known.bos, "decoder_start": start}
        for name, given in ids.items():
            if getattr(value, f"{name}_token_id") is None:
                setattr(value, f"{name}_token_id", given)

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # forward makes our own

    def prepare_inputs_for_generation(  # type: ignore[override]
        self,
        input_ids: Tensor,
        next_sequence_length: int | None = None,
        past_key_values: StreamCache | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        use_cache: bool | None = None,
        encoder_outputs: Encoded | None = None,
        decoder_attention_mask: Tensor | None = None,
        is_first_iteration: bool | None = None,
    ) -> dict[str, Any]:
        """The arguments of `forward` for the next token: what the cache has not read, or everything."""
        new = input_ids if past_key_values is None or not next_sequence_length else input_ids[:, -next_sequence_length:]
        given = {"past_key_values": past_key_values, "use_cache": use_cache, "attention_mask": attention_mask}
        if self.model.encoder is None:
            types = None if token_type_ids is None else token_type_ids[:, -new.shape[1] :]
            return {"input_ids": new, "token_type_ids": types, **given}
        told = {"encoder_outputs": encoder_outputs, "decoder_attention_mask": decoder_attention_mask}
        return {"decoder_input_ids": new, **told, **given}


class PanformerForCausalLM(_Writing):
    """labels (B, T): the ids themselves, -100 where nothing is asked."""


class PanformerForSeq2SeqLM(_Writing):
    """labels (B, T): what is to be written, -100 where nothing is asked."""

    encodes = True


@contextmanager
def _as_ever(loading: bool) -> Iterator[torch.dtype]:
    """Build in float32 in real memory, as panformer.load does, whatever is the default here; that is what it gives."""
    wanted = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu") if loading else nullcontext(), without_draws() if loading else nullcontext():
            yield wanted
    finally:
        torch.set_default_dtype(wanted)
