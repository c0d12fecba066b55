"""A short benchmark of one GPU: `python tools/gpu.py benchmarks/gpu.json`; `--device cpu --tiny` tries the script itself."""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from panformer.bench import peers, suites
from panformer.bench.jobs import JOBS, SDPA
from panformer.bench.race import Time, matmul_rate, write
from panformer.core.layout import Layout, pack, pad
from panformer.core.part import config
from panformer.core.spec import locate
from panformer.core.tree import read_tree
from panformer.model.build import build
from panformer.ops.backend import Operator
from panformer.ops.gated_linear import gated_linear
from panformer.ops.kernels import selective_scan_triton
from panformer.ops.selective_scan import selective_scan

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
SPENT = 0.25  # seconds of repeats of one call
PATIENCE = 1.0  # seconds of one call past which longer inputs are left out
TILES = ((64, 32, 4), (64, 32, 8), (32, 32, 4), (64, 16, 4), (128, 32, 8))  # tokens, channels, warps


class Bench:
    """Rows so far, what did not run, and the time left."""

    def __init__(self, device: str, tiny: bool, seconds: float) -> None:
        self.device, self.tiny, self.end = torch.device(device), tiny, time.monotonic() + seconds
        self.rows: list[dict[str, Any]] = []
        self.missing: dict[str, str] = {}
        self.limits = {name: matmul_rate(dtype, device) for name, dtype in DTYPES.items()}

    def run(
        self, task: str, name: str, form: str, precision: str, items: int, unit: str, call: Callable[[], Any],
        flops: float = 0.0, **more: Any,
    ) -> float | None:  # fmt: skip
        """Time one call, in seconds; None where it could not run."""
        said = f"{task}, {name}, {form}, {precision}"
        if time.monotonic() > self.end:
            self.missing[said] = "no time was left"
            return None
        try:
            took, peak = self.time(call)
        except Exception as fault:  # one that fails must not cost the rest of a short loan
            self.missing[said] = f"{type(fault).__name__}: {str(fault).strip().partition(chr(10))[0][:120]}"
            print(said, self.missing[said], file=sys.stderr, flush=True)
            return None
        finally:
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        row = {
            "task": task, "contestant": name, "form": form, "precision": precision, "unit": f"{unit}/s",
            "rate": float(f"{items / took.median:.5g}"), "seconds": took, "peak_bytes": peak, **more,
        }  # fmt: skip
        if flops:
            row["share_of_matmul_limit"] = round(flops / took.median / self.limits[precision], 3)
        self.rows.append(row)
        print(f"{said}: {1000 * took.median:.3g} ms, {peak / 2**20:.0f} MiB", file=sys.stderr, flush=True)
        return took.median

    def time(self, call: Callable[[], Any]) -> tuple[Time, int]:
        """(seconds of one call, the most bytes that one allocates beside what is there)."""
        gpu = self.device.type == "cuda"
        call()
        before = 0
        if gpu:
            torch.cuda.synchronize()
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
        first = self._once(call)
        peak = torch.cuda.max_memory_allocated() - before if gpu else 0
        count = 1 if self.tiny else max(3, min(20, int(SPENT / first))) if first < PATIENCE else 1
        seconds = [self._once(call) for _ in range(count)]
        return Time(statistics.median(seconds), min(seconds), max(seconds), count), peak

    def _once(self, call: Callable[[], Any]) -> float:
        if self.device.type != "cuda":
            began = time.perf_counter()
            call()
            return time.perf_counter() - began
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        stop.record()
        torch.cuda.synchronize()
        return start.elapsed_time(stop) / 1000


def copies(bench: Bench) -> None:
    """The card's own limits: a matrix product, and a copy."""
    size = 64 if bench.tiny else 8192
    for name, dtype in DTYPES.items():
        a, b = (torch.randn(size, size, device=bench.device, dtype=dtype) for _ in range(2))
        flops = 2.0 * size**3
        bench.run("matrix product", "torch", f"{size} square", name, int(flops), "FLOP", lambda a=a, b=b: a @ b, flops)
    x = torch.randn(1 << (10 if bench.tiny else 28), device=bench.device)
    y = torch.empty_like(x)
    bench.run("copy", "torch", f"{4 * x.numel() >> 20} MiB", "fp32", 8 * x.numel(), "B", lambda: y.copy_(x))


def kernels(bench: Bench) -> None:
    """Each operator with a Triton kernel: forward and backward, by all its kernels and by the reference."""
    lengths = (33, 66) if bench.tiny else (1024, 4096, 16384, 65536)
    for operator, make in ((selective_scan, _scan_inputs), (gated_linear, _gated_inputs)):
        for precision, dtype in DTYPES.items():
            for width in (16,) if bench.tiny else (512, 1024):
                slow: set[str] = set()
                for length in lengths:
                    inputs = make(length, width, dtype, bench.device)
                    for name, fn in _forms(operator, inputs, length == lengths[0]):
                        if name in slow:
                            continue
                        took = bench.run(
                            operator.name, name, f"{length} tokens, width {width}", precision, length, "tokens",
                            _both(fn, inputs), length=length, width=width,
                        )  # fmt: skip
                        if took is None or took > PATIENCE / 4:
                            slow.add(name)


def _forms(operator: Operator, inputs: tuple[Any, ...], short: bool) -> Iterator[tuple[str, Callable[..., Any]]]:
    for kernel in operator.kernels:
        if kernel.refuses(*inputs) is None:
            yield kernel.name, kernel.run
    if short:
        yield "reference", operator.reference


def _both(fn: Callable[..., Any], inputs: tuple[Any, ...]) -> Callable[[], None]:
    leaves = [x for x in inputs if isinstance(x, Tensor) and x.requires_grad]
    push: list[Tensor] = []

    def step() -> None:
        y, _ = fn(*inputs)
        if not push:
            push.append(torch.randn_like(y))
        torch.autograd.grad(y, leaves, push[0])

    return step


def _scan_inputs(length: int, width: int, dtype: torch.dtype, device: torch.device) -> tuple[Any, ...]:
    """As a Mamba mixer of half this width has them: 16 states a channel."""
    x, delta = (torch.randn(1, length, width, device=device) for _ in range(2))
    b, c = (torch.randn(1, length, 16, device=device) for _ in range(2))
    a = -torch.arange(1.0, 17.0, device=device).repeat(width, 1)
    x, delta, b, c = (z.to(dtype).requires_grad_() for z in (x, (delta - 3).exp(), b, c))
    return x, delta, a.requires_grad_(), b, c, None, None


def _gated_inputs(length: int, width: int, dtype: torch.dtype, device: torch.device) -> tuple[Any, ...]:
    heads = 2 if width < 64 else 8
    q, k, v, f = (torch.randn(1, heads, length, width // heads, device=device) for _ in range(4))
    q, k, v = (z.to(dtype).requires_grad_() for z in (q, k, v))
    fall = (torch.nn.functional.logsigmoid(f) / 16).requires_grad_()
    return q, k, v, fall, Layout.dense(1, length, device=device), None


def mixers(bench: Bench) -> None:
    """Every causal mixer of `bench long` at width 512, forward and backward; softmax attention is SDPA's flash form."""
    width = 64 if bench.tiny else 512
    for job, raced in JOBS.items():
        mixer = config("mixers", raced.ours).build(width)
        if not mixer.causal:
            continue
        mixer = mixer.to(bench.device, torch.bfloat16).train()
        for length in (40, 80) if bench.tiny else (4096, 16384, 65536):
            x = torch.randn(1, length, width, device=bench.device, dtype=torch.bfloat16, requires_grad=True)
            push = torch.randn_like(x)

            def step(mixer=mixer, x=x, push=push, length=length) -> None:
                mixer(x, Layout.dense(1, length, device=bench.device)).backward(push)
                x.grad = None
                mixer.zero_grad(set_to_none=True)

            took = bench.run(job, "panformer", f"{length} tokens", "bf16", length, "tokens", step, length=length)
            if took is None or took > PATIENCE:
                break


def training(bench: Bench) -> None:
    """A step (forward, backward, AdamW) of a decoder of GPT-2's smallest size under bf16 autocast."""
    layers, width, heads, vocab, length, batch = (1, 32, 2, 50, 16, 2) if bench.tiny else (12, 768, 12, 50257, 1024, 8)
    x = torch.randint(0, vocab, (batch, length), device=bench.device)
    spec = read_tree(locate("gpt2")) | {"width": width, "position": {"use": "learned", "length": length}}
    spec["embed"] |= {"vocab": vocab}
    spec["schedule"][0] |= {"repeat": layers}
    spec["schedule"][0]["mixer"] |= {"heads": heads}
    spec["head"] |= {"vocab": vocab}
    makes: dict[str, tuple[Callable[[], Any], Callable[[Any], Tensor]]] = {
        "panformer": (lambda: build(spec, seed=0), lambda m: suites._causal(m(x), x)),
        "transformers": (
            lambda: peers.gpt2(layers, width, heads, vocab, length), lambda m: suites._causal(m(x).logits, x),
        ),
    }  # fmt: skip
    for name, (make, loss) in makes.items():
        try:
            model = make().to(bench.device).train()
        except Exception as fault:
            bench.missing[f"training step, {name}"] = f"{type(fault).__name__}: {str(fault).strip()[:120]}"
            continue
        flops = batch * length * (6.0 * sum(p.numel() for p in model.parameters()) + 6.0 * layers * width * length)
        step = suites._step(model, loss, torch.bfloat16)
        size = f"{layers} layers, width {width}, {batch} x {length}"
        bench.run("training step", name, size, "bf16", batch * length, "tokens", step, flops)
        del model, step


def encoding(bench: Bench) -> None:
    """A BERT-base-size encoder on texts of 4 to 256 tokens, all in one call: packed by length, and padded."""
    count, longest = (4, 20) if bench.tiny else (512, 256)
    spec = {**read_tree(locate("bert")), "head": None, "objective": None}
    if bench.tiny:
        spec["schedule"][0]["repeat"] = 1
    model = build(spec, seed=0).to(bench.device, torch.bfloat16).eval()
    rng = torch.Generator().manual_seed(0)
    lengths = (4 + (longest - 4) * torch.rand(count, generator=rng) ** 2).long().sort().values.tolist()
    texts = [torch.randint(0, 30522, (n,), generator=rng).to(bench.device) for n in lengths]
    batches = {"packed": pack(texts), "padded": pad(texts)}
    weights = sum(p.numel() for n, p in model.trunk.named_parameters())
    flops = 2.0 * weights * sum(lengths)
    with torch.inference_mode():
        for form, batch in batches.items():
            call = lambda batch=batch: model(batch)  # noqa: E731
            bench.run("encoding", "panformer", form, "bf16", count, "sequences", call, flops)


def tiles(bench: Bench) -> None:
    """The selective scan in other sizes of its programs."""
    length, width = (40, 16) if bench.tiny else (16384, 1024)
    inputs = _scan_inputs(length, width, torch.bfloat16, bench.device)
    if selective_scan.why(*inputs)["triton"] is not None:
        return
    for sizes in TILES:
        with _set(selective_scan_triton, dict(zip(("TOKENS", "CHANNELS", "WARPS"), sizes, strict=True))):
            form = "tiles of {} tokens, {} channels, {} warps".format(*sizes)
            call = _both(selective_scan_triton.run, inputs)
            bench.run("selective_scan", "triton", form, "bf16", length, "tokens", call)


@contextmanager
def _set(module: Any, values: Mapping[str, Any]) -> Iterator[None]:
    old = {name: getattr(module, name) for name in values}
    try:
        for name, value in values.items():
            setattr(module, name, value)
        yield
    finally:
        for name, value in old.items():
            setattr(module, name, value)


def goals(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A Triton kernel over the fastest other, mixers over softmax attention at the same length, ours over transformers."""
    found = []
    for row in rows:
        same = [r for r in rows if all(r.get(k) == row.get(k) for k in ("task", "form", "precision")) and r is not row]
        if row["contestant"] == "triton" and same:
            found.append((row, max(same, key=lambda r: r["rate"])))
        elif row["task"] in JOBS and row["task"] != SDPA:
            found += [(row, r) for r in rows if r["task"] == SDPA and r["form"] == row["form"]]
        elif row["task"] == "training step" and row["contestant"] == "panformer":
            found += [(row, r) for r in same]
    return [
        {
            "task": a["task"], "goal": f"{a['precision']}, {a['form']}", "wanted": 1.0,
            "against": b["contestant"] if b["task"] == a["task"] else b["task"],
            "reached": round(a["rate"] / b["rate"], 3), "met": a["rate"] >= b["rate"],
        }
        for a, b in found
    ]  # fmt: skip


PARTS = {f.__name__: f for f in (copies, mixers, training, encoding, kernels, tiles)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes that show only that the script runs")
    parser.add_argument("--seconds", type=float, default=100.0, help="what has not begun by then is left out")
    parser.add_argument("--only", nargs="*", default=[], choices=list(PARTS))
    given = parser.parse_args()
    torch.manual_seed(0)
    bench = Bench(given.device, given.tiny, given.seconds)
    for name, part in PARTS.items():
        if not given.only or name in given.only:
            began = time.monotonic()
            try:
                part(bench)
            except Exception as fault:
                bench.missing[name] = f"{type(fault).__name__}: {str(fault).strip()[:200]}"
            print(f"-- {name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            _write(given.out, bench)  # what is done stays, whatever comes


def _write(path: Path, bench: Bench) -> None:
    write(path, {
        "suite": "gpu", "what": "Kernels, mixers, a training step and an encoder on a GPU, on random data.",
        "rows": bench.rows, "goals": goals(bench.rows), "missing": bench.missing, "limits_flops": bench.limits,
        "size": {"batch": 1}, "rounds": max((r["seconds"].rounds for r in bench.rows), default=0),
        "device": bench.device.type,
    })  # fmt: skip


if __name__ == "__main__":
    main()
