"""RecurrentGemma keeps the states of its recurrence in its modules, not in what it answers: its own comparison."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from .cases.recurrent import CASES
from .parity import decoded
from .test_parity import TOLERANCE

MODELS = [case for case in CASES["recurrent_gemma"] if case.architecture.endswith("CausalLM")]


@pytest.mark.parametrize("case", MODELS, ids=[str(i) for i in range(len(MODELS))])
def test_decodes_from_its_cache_as_transformers_does(case):
    assert decoded(case, cached=_cached) < TOLERANCE


def _cached(peer, prompt: Tensor, after: Tensor) -> Tensor:
    """(5, vocab): the public model's answers after the prompt and after each further token."""
    from transformers import DynamicCache

    past = DynamicCache(config=peer.config)
    peer._setup_cache(peer.config, 1, prompt.device, torch.float32)
    answers, seen = [], 0
    for ids in (prompt, *after.split(1, 1)):
        place = torch.arange(seen, seen + ids.shape[1])[None]
        answers.append(peer(ids, position_ids=place, past_key_values=past, use_cache=True).logits[0, -1])
        seen += ids.shape[1]
    return torch.stack(answers)
