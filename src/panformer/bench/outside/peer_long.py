"""Peers that mix one long sequence: one layer over batch 1, forward alone or with its backward pass."""

from functools import partial
from typing import Any

from peer_serve import serve


def load(setup):
    import torch

    torch.set_num_threads(setup["threads"])
    torch.manual_seed(0)
    precision, _, way = setup["precision"].partition(", ")
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    makers: dict[str, Any] = {
        "local-attention": local_attention, "performer-pytorch": performer, "mambapy": mambapy,
        "transformers": transformers, "nystrom-attention": nystrom, "fla stepwise": fla, "fla chunked": fla_chunked,
        "linformer": linformer, "routing-transformer": partial(routing, setup["length"]),
    }  # fmt: skip
    layer = makers[setup["library"]](setup["job"], setup["width"]).train().to(kind)
    both = way == "forward and backward"

    def step(x, mixed=False):
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed), torch.set_grad_enabled(both):
            out = layer(x)
            out = out[0] if isinstance(out, tuple) else out
        if both:
            out.float().sum().backward()
            layer.zero_grad(set_to_none=True)
        return [0.0]

    mixed = False
    try:
        step(torch.randn(1, 64, setup["width"], dtype=kind))
    except RuntimeError:  # parts of it stay in fp32
        if kind == torch.float32:
            raise
        layer, mixed, kind = layer.float(), True, torch.float32
    x = torch.randn(1, setup["length"], setup["width"], dtype=kind, requires_grad=both)
    return lambda: step(x, mixed)


def local_attention(job, width):
    from local_attention import LocalMHA

    return LocalMHA(dim=width, window_size=512, dim_head=width // 8, heads=8, causal=True, prenorm=False)


def performer(job, width):
    from performer_pytorch import SelfAttention

    return SelfAttention(dim=width, heads=8, dim_head=width // 8, causal=True)


def mambapy(job, width):
    from mambapy.mamba import MambaBlock, MambaConfig

    return MambaBlock(MambaConfig(d_model=width, n_layers=1))


def transformers(job, width):
    if job == "Mamba":
        from transformers.models.mamba.modeling_mamba import MambaConfig, MambaMixer

        return MambaMixer(MambaConfig(hidden_size=width, num_hidden_layers=1), layer_idx=0)
    from transformers.models.rwkv.modeling_rwkv import RwkvConfig, RwkvSelfAttention

    return RwkvSelfAttention(RwkvConfig(hidden_size=width, attention_hidden_size=width), layer_id=0)


def nystrom(job, width):
    from nystrom_attention import NystromAttention

    return NystromAttention(dim=width, dim_head=width // 8, heads=8, num_landmarks=64)


def linformer(job, width):
    from linformer import LinformerSelfAttention

    return LinformerSelfAttention(dim=width, seq_len=65536, k=64, heads=8)


def routing(length, job, width):
    """Clusters of their 128 nearest tokens each, as many as hold all tokens once; all heads route."""
    from routing_transformer.routing_transformer import SelfAttention

    return SelfAttention(width, 1, length, 8, 0, 128, causal=True, shared_qk=True)


def fla_chunked(job, width):
    return fla(job, width, chunked=True)


def fla(job, width, chunked=False):
    """flash-linear-attention's plain forms, with linear maps around them; without its package, which wants a GPU's
    compiler."""
    import importlib.util

    import torch

    def form(name):
        home: Any = importlib.util.find_spec("fla")
        place = f"{home.submodule_search_locations[0]}/ops/{name}/naive.py"
        found: Any = importlib.util.spec_from_file_location(f"naive_{name}", place)
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
        return module

    key = {"delta rule": "delta_rule", "gated delta rule": "gated_delta_rule", "gated linear attention": "gla"}[job]
    run, heads = form(key), 8
    half = width // 2 if key == "gla" else width  # its queries and keys are half as wide

    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.g = (torch.nn.Linear(width, half, False) for _ in range(3))
            self.v, self.o = (torch.nn.Linear(width, width, False) for _ in range(2))
            self.a, self.b = (torch.nn.Linear(width, heads) for _ in range(2))

        def forward(self, x):
            q, k, v = (m(x).unflatten(-1, (heads, -1)) for m in (self.q, self.k, self.v))
            decay, beta = torch.nn.functional.logsigmoid(self.a(x)), self.b(x).sigmoid()
            if key == "gla":
                gates = torch.nn.functional.logsigmoid(self.g(x)).unflatten(-1, (heads, -1)) / 16
                y = run.naive_recurrent_gla(q, k, v, gates)[0]
            elif key == "gated_delta_rule":
                q, k = (torch.nn.functional.normalize(z, dim=-1) for z in (q, k))
                if chunked:
                    y = run.naive_chunk_gated_delta_rule(q, k, v, decay, beta)[0]
                else:
                    y = run.naive_recurrent_gated_delta_rule(q, k, v, beta, decay)[0]
            else:
                q, k = (torch.nn.functional.normalize(z, dim=-1) for z in (q, k))
                q, k, v, beta = (z.transpose(1, 2) for z in (q, k, v, beta))
                rule = run.delta_rule_chunkwise if chunked else run.delta_rule_recurrence
                y = rule(q, k, v, beta)[0].transpose(1, 2)
            return self.o(y.flatten(-2).to(x.dtype))

    return Layer()


if __name__ == "__main__":
    serve(load)
