"""No hidden copies: what a layer of a finished model moves in memory, counted by the profiler."""

from collections import Counter

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import panformer

COPIES = ("aten::copy_", "aten::clone", "aten::contiguous", "aten::_to_copy", "mkldnn::_reorder_linear_weight")


def model(layers, dtype, **more):
    spec = {
        "width": 64,
        "embed": {"use": "tokens", "vocab": 50},
        "schedule": [{"repeat": layers, "mixer": {"use": "attention", "heads": 4, **more}, "channel": "mlp"}],
        "linears": [{"use": "packed"}],
        "head": {"use": "lm", "vocab": 50},
    }
    return panformer.build(spec, seed=0).eval().to(dtype)


def copies(run):
    with torch.inference_mode():
        run()  # weights are packed and masks remembered at the first call
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            run()
    return Counter(e.name for e in seen.events() if e.name in COPIES)


def step(m, read):
    """One more token; a stream goes on from where it is, as a cache that two streams write to has to be copied."""
    read.append(m.chunk(torch.ones(2, 1, dtype=torch.int64), read[-1][1]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_encoders_layer_copies_nothing(dtype):
    batch = panformer.pack([torch.arange(n) for n in (5, 5, 9, 9, 20)])
    few, many = (model(n, dtype) for n in (1, 4))
    found = {n: copies(lambda m=m: m(batch)) for n, m in ((1, few), (4, many))}
    assert found[4] == found[1], f"copies grow with the layers: {found}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_decoders_step_writes_its_keys_and_values_and_no_more(dtype):
    found = {}
    for layers in (1, 4):
        m = model(layers, dtype, causal=True, kv_heads=2)
        with torch.inference_mode():
            read = [m.chunk(torch.arange(20).view(2, 10), m.start(2))]
            for _ in range(3):
                step(m, read)
        found[layers] = copies(lambda m=m, read=read: step(m, read))
    per_layer = {op: (found[4][op] - found[1][op]) / 3 for op in COPIES}
    assert per_layer["aten::copy_"] <= 2, f"more than the new key and the new value: {per_layer}"
    assert not any(count for op, count in per_layer.items() if op != "aten::copy_"), per_layer


def test_a_planted_copy_is_seen():
    def stray(module, args):
        return (args[0].clone(), *args[1:])

    batch = panformer.pack([torch.arange(n) for n in (5, 9)])
    found = {}
    for layers in (1, 4):
        m = model(layers, torch.float32)
        for part in m.modules():
            if type(part).__name__ == "Attention":
                part.register_forward_pre_hook(stray)
        found[layers] = copies(lambda m=m: m(batch))
    assert found[4]["aten::clone"] > found[1]["aten::clone"] > 0
