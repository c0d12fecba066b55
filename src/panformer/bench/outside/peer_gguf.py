"""A GPT-2 or a Llama of transformers as a GGUF file with the words t0, t1, ..., in one number format."""

import json
from pathlib import Path

import numpy as np

GPT2 = {
    "wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm", "ln_1": "attn_norm", "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output", "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
}  # fmt: skip
LLAMA = {
    "embed_tokens": "token_embd", "norm": "output_norm", "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "lm_head": "output",
}  # fmt: skip


def written(folder, precision):
    """The path of the file, made when it is first asked for."""
    import gguf

    folder = Path(folder)
    out = folder / f"peer.{precision}.gguf"
    if out.exists():
        return str(out)
    config = json.loads((folder / "config.json").read_text())
    kind = config["model_type"]
    file = gguf.GGUFWriter(out, kind)
    {"gpt2": gpt2_sizes, "llama": llama_sizes}[kind](file, config)
    file.add_tokenizer_model("llama")
    file.add_token_list([f"t{i}" for i in range(config["vocab_size"])])
    file.add_token_scores([0.0] * config["vocab_size"])
    file.add_token_types([1] * config["vocab_size"])
    file.add_vocab_size(config["vocab_size"])
    types = gguf.GGMLQuantizationType
    want = {"fp32": types.F32, "bf16": types.BF16, "int8": types.Q8_0}[precision]
    for name, x in tensors(folder):
        name, x = {"gpt2": gpt2_tensor, "llama": llama_tensor}[kind](name, x, config)
        as_is = x.ndim == 1 or name.startswith("position_embd")  # as llama.cpp's own converter leaves them
        use = types.F32 if as_is else want
        file.add_tensor(name, gguf.quants.quantize(np.ascontiguousarray(x), use), raw_dtype=use)
    for write in (file.write_header_to_file, file.write_kv_data_to_file, file.write_tensors_to_file, file.close):
        write()
    return str(out)


def tensors(folder):
    """(name, array) of every tensor, in fp32."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "np") as file:
            for name in file.keys():
                yield name, file.get_tensor(name).astype(np.float32)


def gpt2_sizes(file, c):
    file.add_context_length(c["n_positions"])
    file.add_embedding_length(c["n_embd"])
    file.add_feed_forward_length(4 * c["n_embd"])
    file.add_block_count(c["n_layer"])
    file.add_head_count(c["n_head"])
    file.add_layer_norm_eps(c.get("layer_norm_epsilon", 1e-5))


def llama_sizes(file, c):
    file.add_context_length(c["max_position_embeddings"])
    file.add_embedding_length(c["hidden_size"])
    file.add_feed_forward_length(c["intermediate_size"])
    file.add_block_count(c["num_hidden_layers"])
    file.add_head_count(c["num_attention_heads"])
    file.add_head_count_kv(c["num_key_value_heads"])
    file.add_layer_norm_rms_eps(c["rms_norm_eps"])
    rope = c.get("rope_parameters") or c
    file.add_rope_freq_base(rope["rope_theta"])
    file.add_rope_dimension_count(c["hidden_size"] // c["num_attention_heads"])


def gpt2_tensor(name, x, c):
    name = renamed(name.removeprefix("transformer."), GPT2)
    return name, x.T if x.ndim == 2 and name.startswith("blk.") else x  # transformers keeps these the other way round


def llama_tensor(name, x, c):
    """llama.cpp turns neighbours together, transformers the halves of a head: rows of queries and keys change place."""
    name = renamed(name.removeprefix("model."), LLAMA)
    heads = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}.get(name.split(".")[-2])
    if heads:
        x = x.reshape(c[heads], 2, -1, x.shape[-1]).swapaxes(1, 2).reshape(x.shape)
    return name, x


def renamed(name, table):
    stem, end = name.rsplit(".", 1)
    if stem in table:
        return f"{table[stem]}.{end}"
    _, layer, part = stem.split(".", 2)
    return f"blk.{layer}.{table[part]}.{end}"
