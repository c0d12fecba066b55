"""Peers that turn texts into unit vectors (mean over tokens): tokenise, sort by length, run, restore the order."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from peer_onnx import in_8_bits, session
from peer_serve import fastest, serve

BATCHES = (8, 16, 32)  # the fastest on a part of the texts is taken
PART = 32
LONGEST = 256


def load(setup):
    texts = json.loads(Path(setup["texts"]).read_text())
    make = {
        "transformers": transformers, "sentence-transformers": sentence_transformers, "openvino": openvino,
        "onnxruntime": onnxruntime, "ctranslate2": ctranslate2,
    }[setup["library"]]  # fmt: skip
    embed = make(setup["folder"], setup["precision"], setup["threads"], texts)
    part = texts[:: max(1, len(texts) // PART)][:PART]
    size = BATCHES[fastest([lambda size=size: embed(part, size) for size in BATCHES])]
    return lambda: embed(texts, size)


def tokenizer(folder):
    from tokenizers import Tokenizer

    found = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    found.no_padding()
    found.enable_truncation(LONGEST)
    return found


def by_length(words, texts, size, run):
    """Embeddings (N, D) in the given order; `run` gets padded ids and mask (B, T) and returns hidden vectors."""
    ids = [e.ids for e in words.encode_batch(texts)]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    out = None
    for start in range(0, len(order), size):
        group = order[start : start + size]
        longest = max(len(ids[i]) for i in group)
        x, keep = np.zeros((len(group), longest), np.int64), np.zeros((len(group), longest), np.int64)
        for row, i in enumerate(group):
            x[row, : len(ids[i])] = ids[i]
            keep[row, : len(ids[i])] = 1
        vectors = pooled(run(x, keep), keep)
        out = np.empty((len(ids), vectors.shape[1]), np.float32) if out is None else out
        out[group] = vectors
    return out


def pooled(hidden, keep):
    hidden = np.asarray(hidden, np.float32)
    mean = np.einsum("btd,bt->bd", hidden, keep.astype(np.float32)) / keep.sum(1, keepdims=True)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def transformers(folder, precision, threads, texts):
    import torch
    from transformers import AutoModel

    torch.set_num_threads(threads)
    words = tokenizer(folder)
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    model = AutoModel.from_pretrained(folder, dtype=kind, attn_implementation="sdpa").eval()

    def run(x, keep):
        with torch.inference_mode():
            found = model(input_ids=torch.from_numpy(x), attention_mask=torch.from_numpy(keep))
            return found.last_hidden_state.float().numpy()

    return lambda some, size: by_length(words, some, size, run)


def sentence_transformers(folder, precision, threads, texts):
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    model = SentenceTransformer(folder, device="cpu", model_kwargs={"torch_dtype": kind})
    model.max_seq_length = LONGEST

    def embed(some, size):
        return model.encode(some, batch_size=size, normalize_embeddings=True, convert_to_tensor=True).float().numpy()

    return embed


def torch_model(folder):
    """The model as one function of ids and mask, for converters."""
    import torch
    from transformers import AutoModel

    class Hidden(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    example = (torch.ones(2, 16, dtype=torch.int64), torch.ones(2, 16, dtype=torch.int64))
    return Hidden().eval(), example


def exported(folder):
    """The model as an ONNX file, made once for all precisions and libraries."""
    import torch

    kept = Path(folder) / "peer.onnx"
    if not kept.exists():
        model, example = torch_model(folder)
        free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens", max=512)}
        with torch.no_grad():
            torch.onnx.export(
                model, example, kept, input_names=["input_ids", "attention_mask"], output_names=["hidden"],
                dynamic_shapes=(free, free), dynamo=True, external_data=False, verbose=False,
            )  # fmt: skip
    return str(kept)


def openvino(folder, precision, threads, texts):
    import openvino as ov

    core = ov.Core()
    words = tokenizer(folder)
    model = core.read_model(exported(folder))
    if precision == "int8":
        import nncf

        def fed(text):
            ids = np.array([words.encode(text).ids], np.int64)
            return {"input_ids": ids, "attention_mask": np.ones_like(ids)}

        some = nncf.Dataset(texts[:128], fed)
        model = nncf.quantize(model, some, model_type=nncf.ModelType.TRANSFORMER, subset_size=128)
    hint = {"fp32": "f32", "bf16": "bf16", "int8": "bf16" if "BF16" in capabilities(core) else "f32"}[precision]
    options = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(model, "CPU", options).create_infer_request()

    def run(x, keep):
        return request.infer({"input_ids": x, "attention_mask": keep}, share_inputs=True, share_outputs=True)["hidden"]

    return lambda some, size: by_length(words, some, size, run)


def capabilities(core):
    return core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def onnxruntime(folder, precision, threads, texts):
    words = tokenizer(folder)
    path = exported(folder)
    ready = session(in_8_bits(path) if precision == "int8" else path, threads)

    def run(x, keep):
        return ready.run(["hidden"], {"input_ids": x, "attention_mask": keep})[0]

    return lambda some, size: by_length(words, some, size, run)


def ctranslate2(folder, precision, threads, texts):
    import ctranslate2 as ct

    words = tokenizer(folder)
    kind = {"fp32": "float32", "bf16": "bfloat16", "int8": "int8"}[precision]
    out = Path(folder) / "peer.ct2"
    if not out.exists():
        with tempfile.TemporaryDirectory() as home:
            for file in Path(folder).iterdir():
                if file.is_file() and file.suffix in (".json", ".safetensors", ".txt"):
                    shutil.copy(file, home)
            config = json.loads((Path(home) / "config.json").read_text())
            config.setdefault("position_embedding_type", "absolute")  # its converter asks for it
            (Path(home) / "config.json").write_text(json.dumps(config))
            ct.converters.TransformersConverter(home).convert(str(out))
    model = ct.Encoder(str(out), device="cpu", compute_type=kind, inter_threads=1, intra_threads=threads)

    def run(x, keep):
        ids = [row[:n].tolist() for row, n in zip(x, keep.sum(1))]
        return np.array(model.forward_batch(ids).last_hidden_state)

    return lambda some, size: by_length(words, some, size, run)


if __name__ == "__main__":
    serve(load)
