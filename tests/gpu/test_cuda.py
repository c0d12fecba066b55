"""On a GPU the same models give the same answers, gradients and streams as on the CPU in float64."""

import pytest
import torch

import panformer
from panformer.core.part import find, known

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")

MIXERS = [
    (use, i)
    for use in known("mixers")
    for i, options in enumerate(find("mixers", use).examples)
    if not find("mixers", use).lattice and not find("mixers", use).needs
]


def models(use, i):
    options = find("mixers", use).examples[i]
    spec = {
        "width": 16,
        "embed": {"use": "tokens", "vocab": 30},
        "schedule": [{"repeat": 2, "mixer": {"use": use, **options}, "channel": "glu"}],
        "head": {"use": "lm", "vocab": 30},
    }
    return tuple(panformer.build(spec, seed=0).double().eval().to(d) for d in ("cpu", "cuda"))  # nothing is drawn


@pytest.mark.parametrize(("use", "i"), MIXERS)
def test_answers_and_gradients_are_those_of_the_cpu(use, i):
    here, there = models(use, i)
    x = torch.randint(0, 30, (3, 40), generator=torch.Generator().manual_seed(0))
    for lengths in (None, [40, 17, 1]):
        a, b = here(x, lengths), there(x.cuda(), lengths)
        keep = slice(None) if lengths is None else slice(0, 1)
        torch.testing.assert_close(b.cpu()[keep], a[keep], rtol=1e-9, atol=1e-9)
        for model, out in ((here, a), (there, b)):
            model.zero_grad()
            out[keep].square().mean().backward()
        for (name, p), q in zip(here.named_parameters(), there.parameters(), strict=True):
            torch.testing.assert_close(q.grad.cpu(), p.grad, rtol=1e-8, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")


LATTICES = [
    (use, i) for use in known("mixers") if find("mixers", use).lattice for i in range(len(find("mixers", use).examples))
]


@pytest.mark.parametrize(("use", "i"), [*LATTICES, ("pool", 0)])
def test_pictures_give_the_answers_and_gradients_of_the_cpu(use, i):
    spec = {
        "width": 16,
        "embed": {"use": "patches", "size": 2, "channels": 1},
        "schedule": [{"repeat": 2, "mixer": {"use": use, **find("mixers", use).examples[i]}, "channel": "glu"}],
        "head": {"use": "classify", "classes": 3},
    }
    x = torch.randn(3, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = []
    for device in ("cpu", "cuda"):
        model = panformer.build(spec, seed=0).double().eval().to(device)
        out = model(x.to(device))
        out.square().mean().backward()
        found.append([out.detach().cpu(), *(p.grad.cpu() for p in model.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("use", "i"), MIXERS)
def test_packed_and_streamed_equal_the_whole(use, i):
    _, model = models(use, i)
    parts = [torch.randint(0, 30, (n,), device="cuda") for n in (5, 23, 1)]
    packed = model(panformer.pack(parts))[0]
    for piece, part in zip(packed.split([5, 23, 1]), parts, strict=True):
        torch.testing.assert_close(piece, model(part[None])[0], rtol=1e-9, atol=1e-9)
    if model.why_no_stream() is None:
        x = parts[1][None]
        stream, out = model.start(1), []
        for piece in x.split(6, 1):
            y, stream = model.chunk(piece, stream)
            out.append(y)
        torch.testing.assert_close(torch.cat(out, 1), model(x), rtol=1e-9, atol=1e-9)
