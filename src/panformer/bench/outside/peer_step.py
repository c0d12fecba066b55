"""Peers that decode: one layer, batch 1, a token at a time after many that were read before."""

import time

from peer_serve import serve

FIRST = 1024  # tokens read at once; later ones only one by one, as its whole form starts from nothing
held: dict = {}  # the layer, its cache, the tokens it has read


def load(setup):
    import torch
    from transformers.cache_utils import DynamicCache
    from transformers.models.mamba.modeling_mamba import MambaConfig, MambaMixer

    torch.set_num_threads(setup["threads"])
    if not held:
        torch.manual_seed(0)
        config = MambaConfig(hidden_size=setup["width"], num_hidden_layers=1)
        held.update(layer=MambaMixer(config, layer_idx=0).eval(), cache=DynamicCache(config=config), seen=0)
        held["x"] = torch.randn(1, 1, setup["width"])
    layer, cache, x = held["layer"], held["cache"], held["x"]

    def on(x):
        with torch.inference_mode():
            layer(x, cache_params=cache)
        held["seen"] += x.shape[1]

    if not held["seen"]:
        on(torch.randn(1, min(FIRST, setup["length"]), setup["width"]))
    began, first = time.perf_counter(), held["seen"]
    while held["seen"] < setup["length"]:
        on(x)
        if (time.perf_counter() - began) * (setup["length"] - first) > setup["longest"] * (held["seen"] - first):
            if held["seen"] > first + 100:  # the first tokens are slower
                raise TimeoutError(f"reading on would take over {setup['longest']:.0f} s")

    def turn():
        for _ in range(setup["steps"]):
            on(x)
        return [0.0]

    return turn


if __name__ == "__main__":
    serve(load)
