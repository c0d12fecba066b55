"""A panformer model against the public one it was read from: same weights, same input, fp32."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from panformer.convert.convert import from_module, to_tensors
from panformer.model.model import Model

from . import cases as home

Answers = tuple[Tensor, Tensor]  # ours, theirs: the same numbers


@dataclass(frozen=True, eq=False)
class Case:
    """One configuration of one public architecture, and how to ask both sides the same question."""

    architecture: str  # a class of transformers
    config: dict[str, Any]
    ask: Callable[[Model, Any, torch.Generator], Answers] | str = "tokens"
    causal: bool = False  # whether cached decoding is compared too
    about: str = ""  # what is odd about it
    more: dict[str, Any] = field(default_factory=dict)  # options for `ask`


def every() -> list[tuple[str, Case]]:
    """(family, case) of all files in `cases/`."""
    out = []
    for found in pkgutil.iter_modules(home.__path__):
        module = importlib.import_module(f"{home.__name__}.{found.name}")
        out += [(family, case) for family, cases in module.CASES.items() for case in cases]
    return out


def public(case: Case, seed: int) -> Any:
    """The public model with every parameter drawn, norms and offsets too, so that none can be forgotten unseen."""
    import transformers

    architecture = getattr(transformers, case.architecture)
    config = architecture.config_class(**case.config)
    config._attn_implementation = "eager"
    torch.manual_seed(seed)
    peer = architecture(config).float().eval()
    with torch.no_grad():
        for name, p in sorted(peer.named_parameters()):
            if not p.requires_grad:  # a fixed table
                continue
            p.add_(torch.randn_like(p) * (0.1 if p.dim() > 1 else 0.2))
            if "norm" in name.lower() and p.dim() == 1 and name.endswith("weight"):
                p.add_(0.1)
    return peer


@lru_cache(maxsize=1)  # all questions about a case come one after the other
def pair(case: Case, seed: int) -> tuple[Any, Model, Any]:
    """(the public model, ours, where it came from)."""
    peer = public(case, seed)
    return peer, *from_module(peer)


def measure(case: Case, seed: int = 0) -> float:
    """Largest error over the largest number of the public answer."""
    peer, model, _ = pair(case, seed)
    with torch.no_grad():
        mine, theirs = _ask(case)(model, peer, torch.Generator().manual_seed(seed))
    return error(mine, theirs)


def error(mine: Tensor, theirs: Tensor) -> float:
    assert mine.shape == theirs.shape, f"ours answers {tuple(mine.shape)}, theirs {tuple(theirs.shape)}"
    assert bool(torch.isfinite(theirs).all()) and theirs.abs().max() > 1e-3, "the public answer is not finite or is 0"
    return float((mine.double() - theirs.double()).abs().max() / theirs.double().abs().max())


def returned(case: Case, seed: int = 0) -> list[str]:
    """Names of the public tensors that do not come back as they were, to the bit."""
    peer, model, origin = pair(case, seed)
    back, state = to_tensors(model, origin), peer.state_dict()
    wrong = [n for n in state if n not in back or back[n].dtype != state[n].dtype or not torch.equal(back[n], state[n])]
    return wrong + [n for n in back if n not in state]


# ---- questions


LENGTHS = (13, 7, 1)


def tokens(model: Model, peer: Any, rng: torch.Generator, low: int = 3) -> Answers:
    """A right-padded batch of three texts, the answers at real tokens (or per sequence, where that is what is given)."""
    ids, mask = batch(peer.config.vocab_size, rng, low)
    theirs = first(peer(input_ids=ids, attention_mask=mask))
    mine = answer(model, ids)
    return (mine, theirs) if mine.dim() == 2 else (mine[mask.bool()], theirs[mask.bool()])


def typed(model: Model, peer: Any, rng: torch.Generator, low: int = 3) -> Answers:
    """The same with segment types."""
    ids, mask = batch(peer.config.vocab_size, rng, low)
    kinds = torch.randint(0, peer.config.type_vocab_size, ids.shape, generator=rng)
    theirs = first(peer(input_ids=ids, attention_mask=mask, token_type_ids=kinds))
    mine = answer(model, torch.stack([ids, kinds], -1))
    return (mine, theirs) if mine.dim() == 2 else (mine[mask.bool()], theirs[mask.bool()])


def batch(vocab: int, rng: torch.Generator, low: int = 3) -> tuple[Tensor, Tensor]:
    """(ids, 1 where real), (3, 13) each."""
    ids = torch.randint(low, vocab, (len(LENGTHS), max(LENGTHS)), generator=rng)
    mask = (torch.arange(max(LENGTHS))[None] < torch.tensor(LENGTHS)[:, None]).long()
    return torch.where(mask.bool(), ids, 0), mask


def answer(model: Model, x: Tensor) -> Tensor:
    return model(x, list(LENGTHS))


def first(out: Any) -> Tensor:
    """The pooled vector, the scores or the hidden vectors, whatever this output is about."""
    for name in ("prediction_logits", "logits", "pooler_output", "last_hidden_state"):
        if getattr(out, name, None) is not None:
            return getattr(out, name)
    raise AssertionError(f"nothing to compare in {type(out).__name__}")


def _ask(case: Case) -> Callable[..., Answers]:
    found: Any = ASKS[case.ask] if isinstance(case.ask, str) else case.ask
    return lambda *a: found(*a, **case.more)


ASKS: dict[str, Callable[..., Answers]] = {"tokens": tokens, "typed": typed}


# ---- decoding


def decoded(case: Case, seed: int = 0, cached: Callable[..., Tensor] | None = None) -> float:
    """Cached decoding: ragged prompts, then four tokens one at a time; theirs row by row, by `cached`."""
    peer, model, _ = pair(case, seed)
    rng = torch.Generator().manual_seed(seed)
    ids, _ = batch(peer.config.vocab_size, rng)
    after = torch.randint(3, peer.config.vocab_size, (len(LENGTHS), 4), generator=rng)
    worst = 0.0
    with torch.no_grad():
        mine, stream = model.chunk(ids, model.start(len(LENGTHS)), list(LENGTHS))
        steps = [torch.stack([mine[i, n - 1] for i, n in enumerate(LENGTHS)])]
        for t in range(4):
            mine, stream = model.chunk(after[:, t : t + 1], stream)
            steps.append(mine[:, 0])
        for i, n in enumerate(LENGTHS):
            theirs = (cached or _cached)(peer, ids[i : i + 1, :n], after[i : i + 1])
            worst = max(worst, error(torch.stack([s[i] for s in steps]), theirs))
    return worst


def _cached(peer: nn.Module, prompt: Tensor, after: Tensor) -> Tensor:
    """(5, vocab): the public model's answers after the prompt and after each further token, by its own cache."""
    names = ("past_key_values", "cache_params", "state")
    out = peer(prompt, use_cache=True)
    answers = [out.logits[0, -1]]
    for t in range(after.shape[1]):
        name = next(n for n in names if getattr(out, n, None) is not None)
        out = peer(after[:, t : t + 1], **{name: getattr(out, name)}, use_cache=True)
        answers.append(out.logits[0, -1])
    return torch.stack(answers)
