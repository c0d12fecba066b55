"""The mixers that are raced over long sequences, and the public packages they are raced with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from ..core.families import Mixer
from ..core.part import config

WIDTH = 512
LENGTHS = (1024, 4096, 16384, 65536)
NEAR, NEARER = 0.15, 0.1  # how far an exponent may lie over the declared one, and that of a recurrence
SDPA = "softmax attention"


class Job(NamedTuple):
    """A mixer of ours, and how many times faster than public ones it shall be over both passes (forward alone: once)."""

    ours: Mapping[str, Any]
    peers: Mapping[str, tuple[str, float]] = {}  # name -> (requirement, wanted)
    near: float = NEAR


DILATED = {"use": "dilated", "segments": [1024, 4096, 16384], "rates": [1, 4, 16]}
TRANSFORMERS, FLA = "transformers==5.23.0", "fla-core==0.6.0"
JOBS: Mapping[str, Job] = {
    SDPA: Job({"use": "attention", "heads": 8, "causal": True}),
    "attention in a window of 512": Job(
        {"use": "attention", "heads": 8, "causal": True, "window": 512},
        {"local-attention": ("local-attention==1.11.2", 1.5)},
    ),
    "linear attention": Job(
        {"use": "linear_attention", "heads": 8, "causal": True},
        {"performer-pytorch": ("performer-pytorch==1.1.4", 5.0)},
    ),
    "retention": Job({"use": "retention", "heads": 8}, near=NEARER),
    "gated linear attention": Job(
        {"use": "gated_linear_attention", "heads": 8}, {"fla stepwise": (FLA, 1.0)}, near=NEARER
    ),
    "delta rule": Job(
        {"use": "delta_net", "heads": 8}, {"fla stepwise": (FLA, 5.0), "fla chunked": (FLA, 1.0)}, near=NEARER
    ),
    "gated delta rule": Job(
        {"use": "gated_delta_net", "heads": 8}, {"fla stepwise": (FLA, 5.0), "fla chunked": (FLA, 1.0)}, near=NEARER
    ),
    "Mamba": Job(
        {"use": "mamba"}, {"mambapy": ("mambapy==1.2.0", 5.0), "transformers": (TRANSFORMERS, 100.0)}, near=NEARER
    ),
    "Mamba-2": Job({"use": "mamba2"}, near=NEARER),
    "RWKV": Job({"use": "rwkv"}, {"transformers": (TRANSFORMERS, 5.0)}, near=NEARER),
    "Nystroem attention": Job(
        {"use": "nystromformer", "heads": 8, "landmarks": 64, "conv": 33},
        {"nystrom-attention": ("nystrom-attention==0.0.14", 1.0)},
    ),
    "Fourier": Job({"use": "fourier"}),
    "strided pattern": Job({"use": "attention", "heads": 8, "causal": True, "pattern": "strided"}),
    "LongNet": Job({"use": "attention", "heads": 8, "causal": True, "pattern": DILATED}),
    "Combiner": Job({"use": "combiner", "heads": 8, "causal": True}),
    "BiFormer": Job({"use": "bi_former", "heads": 8}),
    "MRA-2": Job({"use": "multi_resolution", "heads": 8}),
    "SLA": Job({"use": "sparse_linear_attention", "heads": 8}),
    "routing": Job(
        {"use": "routing_attention", "heads": 8, "clusters": 128, "window": 128, "causal": True},
        {"routing-transformer": ("routing-transformer==1.6.1", 1.0)},
    ),
    "LSH attention": Job({"use": "lsh_attention", "heads": 8, "buckets": 128, "window": 64, "causal": True}),
    "KDEformer": Job({"use": "kde_former", "heads": 8}),
    "Linformer": Job(
        {"use": "linformer", "heads": 8, "length": LENGTHS[-1], "rank": 64}, {"linformer": ("linformer==0.2.3", 1.0)}
    ),
    "agent attention": Job({"use": "agent_attention", "heads": 8, "agents": 64}),
    "FIT": Job({"use": "fit", "heads": 8}),
    "Hedgehog": Job({"use": "linear_attention", "heads": 8, "causal": True, "feature": "hedgehog"}),
    "cosine attention": Job({"use": "cosine_attention", "heads": 8, "causal": True}),
    "kernel attention with a relative bias": Job({"use": "toeplitz_attention", "heads": 32, "position": "t5"}),
    "attention between channels": Job({"use": "cross_covariance", "heads": 8}),
    "LION": Job({"use": "lion", "heads": 8, "decay": "selective"}, near=NEARER),
    "Hyena": Job({"use": "hyena", "causal": True}, near=NEARER),
    "Hydra": Job({"use": "hydra", "heads": 8}, near=NEARER),
    "Aaren": Job({"use": "aaren", "heads": 8}, near=NEARER),
    "Megalodon": Job({"use": "megalodon", "heads": 1, "chunk": 1024}, near=NEARER),
    "minGRU": Job({"use": "min_gru"}, near=NEARER),
    "LMU": Job({"use": "lmu"}, near=NEARER),
}


def built(tree: Mapping[str, Any], width: int) -> Mixer:
    """The mixer of a job, with the same weights each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        mixer: Mixer = config("mixers", tree).build(width)
        return mixer.train()
