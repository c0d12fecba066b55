"""Peers that go on from prompts of ids, greedily, for a given number of tokens."""

import json
from pathlib import Path

import numpy as np
from peer_serve import serve


def load(setup):
    prompts = np.load(setup["prompts"])
    make = {"transformers": transformers, "ctranslate2": ctranslate2, "llama.cpp": llama}[setup["library"]]
    return make(setup["folder"], setup["precision"], setup["threads"], prompts, setup["tokens"])


def transformers(folder, precision, threads, prompts, tokens):
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=kind, attn_implementation="sdpa").eval()
    x = torch.from_numpy(prompts)
    options = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False, "pad_token_id": 0}

    def run():
        with torch.inference_mode():
            return model.generate(x, attention_mask=torch.ones_like(x), **options)[:, x.shape[1] :].numpy()

    def scores():
        with torch.inference_mode():
            return model(x).logits[:, -1].float().log_softmax(-1).numpy()

    return run, scores


def ctranslate2(folder, precision, threads, prompts, tokens):
    import ctranslate2 as ct

    out = Path(folder) / "peer.ct2"
    if not out.exists():
        _converter(ct, folder).convert(str(out))
    kind = {"fp32": "float32", "int8": "int8"}[precision]
    model = ct.Generator(str(out), device="cpu", compute_type=kind, inter_threads=1, intra_threads=threads)
    texts = [[f"t{i}" for i in row] for row in prompts.tolist()]
    options = {"max_length": tokens, "min_length": tokens, "sampling_topk": 1, "beam_size": 1}

    def run():
        found = model.generate_batch(texts, include_prompt_in_result=False, **options)
        return np.array([f.sequences_ids[0] for f in found])

    def scores():
        return np.array(model.forward_batch(texts, return_log_probs=True))[:, -1].astype("float32")

    return run, scores


def _converter(ct, folder):
    """CTranslate2 speaks in words: here t0, t1, ..., so that no tokenizer is needed."""

    class Words:
        bos_token = eos_token = unk_token = "t0"

        def __init__(self, size):
            self.size = size

        def get_vocab(self):
            return {f"t{i}": i for i in range(self.size)}

    class Plain(ct.converters.TransformersConverter):  # type: ignore[name-defined]
        def load_model(self, kind, name, **options):
            found = super().load_model(kind, name, **options)
            self.size = found.config.vocab_size
            return found

        def load_tokenizer(self, kind, name, **options):
            return Words(self.size)

    return Plain(folder)


def llama(folder, precision, threads, prompts, tokens):
    """llama.cpp through its server's own loop, within this process; its words are t0, t1, ..."""
    import xllamacpp
    from peer_gguf import written

    rows = len(prompts)
    options = xllamacpp.CommonParams()
    options.model.path = written(folder, precision)
    options.n_parallel, options.n_ctx = rows, 256 * rows  # positions of all rows together
    options.cpuparams.n_threads = options.cpuparams_batch.n_threads = threads
    options.verbosity = 0
    server = xllamacpp.Server(options)
    texts = prompts.tolist() if rows > 1 else prompts[0].tolist()
    plain = {"prompt": texts, "temperature": 0, "ignore_eos": True, "cache_prompt": False}

    def run():
        found = server.handle_completions({**plain, "max_tokens": tokens})["choices"]
        ids = [[int(t) for t in f["text"].split("t")[1:]] for f in sorted(found, key=lambda f: f["index"])]
        return np.array(ids)

    def scores():
        vocab = json.loads((Path(folder) / "config.json").read_text())["vocab_size"]
        found = server.handle_completions({**plain, "max_tokens": 1, "logprobs": vocab})["choices"]
        out = np.full((rows, vocab), -np.inf, np.float32)
        for f in found:
            best = f["logprobs"]["content"][0]["top_logprobs"]
            out[f["index"], [t["id"] for t in best]] = [t["logprob"] for t in best]
        return out

    return run, scores


if __name__ == "__main__":
    serve(load)
