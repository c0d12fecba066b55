"""Peers that train: one step of a small decoder, with weights and tokens that were written down for it."""

from typing import Any

from peer_serve import serve


def load(setup):
    import numpy as np
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(setup["threads"])
    tokens = torch.from_numpy(np.load(setup["tokens"]))
    weights = {name: torch.from_numpy(value) for name, value in np.load(setup["weights"]).items()}
    model = {"litgpt": litgpt}[setup["library"]](weights, setup["heads"], tokens.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def backward():
        with torch.autocast("cpu", torch.bfloat16, enabled=setup["precision"] == "bf16"):
            logits = model(tokens)
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten())
        loss.backward()

    def answer():
        backward()
        found = model.transformer.wte.weight.grad.numpy().copy()
        optimizer.zero_grad(set_to_none=True)
        return found

    def round():
        backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return round, answer


def litgpt(weights, heads, length):
    alone()
    from litgpt.config import Config
    from litgpt.model import GPT

    vocab, width = weights["transformer.wte.weight"].shape
    layers = len({name.split(".")[2] for name in weights if name.startswith("transformer.h.")})
    config = Config(
        block_size=length, n_layer=layers, n_embd=width, n_head=heads, vocab_size=vocab, padded_vocab_size=vocab,
        rotary_percentage=1.0, parallel_residual=False, gelu_approximate="tanh",
    )  # fmt: skip
    model = GPT(config)
    model.load_state_dict(weights)
    return model.train()


def alone():
    """litgpt's model by itself: what the package loads besides (lightning, for its training scripts) has no part in it."""
    import importlib.util
    import sys
    import types

    if "litgpt" in sys.modules:
        return
    home: Any = importlib.util.find_spec("litgpt")
    package, _, convert = made = [
        types.ModuleType(f"litgpt{part}") for part in ("", ".scripts", ".scripts.convert_hf_checkpoint")
    ]
    package.__path__ = list(home.submodule_search_locations)
    vars(convert)["qkv_reassemble"] = None  # for checkpoints in an older layout
    sys.modules |= {module.__name__: module for module in made}


if __name__ == "__main__":
    serve(load)
