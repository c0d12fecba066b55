"""Device code of `selective_scan_triton`, imported where Triton is.

Tensors lie as x, delta, dy (B, T, E), a (N, E), b, c (B, T, N), reset (B, T), states (B, n + 1, N, E) for n blocks of
time; a program works on one block of time and one of channels. All sums are in float32.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _join(a, x, b, y):
    """h -> b (a h + x) + y"""
    return b * a, b * x + y


@triton.jit
def ends(
    v, delta, a, w, reset, gain, local, length, width, states,
    RESETS: tl.constexpr, BACK: tl.constexpr, TOKENS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """What a block does to the state that enters it: times `gain`, plus `local`. `BACK`: to the gradient, from its end."""
    block, row = tl.program_id(0), tl.program_id(2).to(tl.int64)
    t = block * TOKENS + tl.arange(0, TOKENS)
    e = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    here = (t < length)[:, None] & (e < width)[None, :]
    at = (row * length + t)[:, None] * width + e[None, :]
    step = tl.load(delta + at, mask=here, other=0).to(tl.float32)
    what = tl.load(v + at, mask=here, other=0).to(tl.float32)
    passed = tl.cumsum(step, 0)
    whole = tl.sum(step, 0)
    if BACK:
        apart = passed
    else:
        apart = whole[None, :] - passed
        what = what * step
    open_ = 1.0
    if RESETS:
        flag = tl.load(reset + row * length + t, mask=t < length, other=0).to(tl.int32)
        seen, count = tl.cumsum(flag, 0), tl.sum(flag, 0)
        alive = (seen == 0) if BACK else (seen == count)
        what = tl.where(alive[:, None], what, 0.0)
        open_ = tl.where(count == 0, 1.0, 0.0)
    out = ((row * tl.num_programs(0) + block) * states) * width + e
    for n in range(states):
        rate = tl.load(a + n * width + e, mask=e < width, other=0)
        weight = tl.load(w + (row * length + t) * states + n, mask=t < length, other=0).to(tl.float32)
        found = tl.sum(tl.exp(apart * rate[None, :]) * what * weight[:, None], 0)
        tl.store(local + out + n * width, found, mask=e < width)
        tl.store(gain + out + n * width, tl.exp(whole * rate) * open_, mask=e < width)


@triton.jit
def carry(start, gain, local, path, blocks, size, BACK: tl.constexpr, ROWS: tl.constexpr, CHANNELS: tl.constexpr):
    """path[0] = start, path[i + 1] = gain[i] path[i] + local[i]; with `BACK` blocks are taken from the last."""
    row = tl.program_id(1).to(tl.int64)
    e = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    lane = tl.arange(0, ROWS)
    h = tl.load(start + row * size + e, mask=e < size, other=0)
    out = path + row * (blocks + 1) * size
    tl.store(out + e, h, mask=e < size)
    for first in range(0, blocks, ROWS):
        i = first + lane
        here = (i < blocks)[:, None] & (e < size)[None, :]
        block = blocks - 1 - i if BACK else i
        at = (row * blocks + block)[:, None] * size + e[None, :]
        g = tl.load(gain + at, mask=here, other=1)
        x = tl.load(local + at, mask=here, other=0)
        g, x = tl.associative_scan((g, x), 0, _join)
        after = x + g * h[None, :]
        tl.store(out + (i + 1)[:, None] * size + e[None, :], after, mask=here)
        h = tl.sum(tl.where((lane == ROWS - 1)[:, None], after, 0.0), 0)


@triton.jit
def read(
    x, delta, a, b, c, reset, path, y, length, width, states,
    RESETS: tl.constexpr, TOKENS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """y of a block from the state that enters it."""
    block, row = tl.program_id(0), tl.program_id(2).to(tl.int64)
    t = block * TOKENS + tl.arange(0, TOKENS)
    e = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    here = (t < length)[:, None] & (e < width)[None, :]
    at = (row * length + t)[:, None] * width + e[None, :]
    step = tl.load(delta + at, mask=here, other=0).to(tl.float32)
    new = tl.load(x + at, mask=here, other=0).to(tl.float32) * step
    if RESETS:
        flag = tl.load(reset + row * length + t, mask=t < length, other=0) != 0
    enter = path + ((row * (tl.num_programs(0) + 1) + block) * states) * width + e
    out = tl.zeros((TOKENS, CHANNELS), tl.float32)
    for n in range(states):
        rate = tl.load(a + n * width + e, mask=e < width, other=0)
        beside = (row * length + t) * states + n
        to = tl.load(b + beside, mask=t < length, other=0).to(tl.float32)
        fro = tl.load(c + beside, mask=t < length, other=0).to(tl.float32)
        gain = tl.exp(step * rate[None, :])
        if RESETS:
            gain = tl.where(flag[:, None], 0.0, gain)
        gains, h = tl.associative_scan((gain, new * to[:, None]), 0, _join)
        h += gains * tl.load(enter + n * width, mask=e < width, other=0)[None, :]
        out += h * fro[:, None]
    tl.store(y + at, out.to(y.dtype.element_ty), mask=here)


@triton.jit
def slopes(
    x, delta, a, b, c, reset, path, dy, back, dx, ddelta, da, db, dc, length, width, states,
    RESETS: tl.constexpr, TOKENS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Gradients of a block: dx, ddelta; da (B, n, N, E) summed over its tokens; db, dc (blocks of channels, B, T, N)."""
    block, row = tl.program_id(0), tl.program_id(2).to(tl.int64)
    blocks, lane = tl.num_programs(0), tl.arange(0, TOKENS)
    t = block * TOKENS + lane
    e = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    here = (t < length)[:, None] & (e < width)[None, :]
    at = (row * length + t)[:, None] * width + e[None, :]
    last = (lane == TOKENS - 1)[:, None]
    step = tl.load(delta + at, mask=here, other=0).to(tl.float32)
    now = tl.load(x + at, mask=here, other=0).to(tl.float32)
    push = tl.load(dy + at, mask=here, other=0).to(tl.float32)
    later = here & (t + 1 < length)[:, None]
    step_next = tl.load(delta + at + width, mask=later, other=0).to(tl.float32)
    if RESETS:
        flag = tl.load(reset + row * length + t, mask=t < length, other=0) != 0
        flag_next = tl.load(reset + row * length + t + 1, mask=t + 1 < length, other=0) != 0
    enter = ((row * (blocks + 1) + block) * states) * width + e
    leave = ((row * (blocks + 1) + blocks - 1 - block) * states) * width + e
    rates_out = da + ((row * blocks + block) * states) * width + e
    part = tl.program_id(1) * tl.num_programs(2).to(tl.int64) * length * states
    into = tl.zeros((TOKENS, CHANNELS), tl.float32)
    turned = tl.zeros((TOKENS, CHANNELS), tl.float32)
    for n in range(states):
        rate = tl.load(a + n * width + e, mask=e < width, other=0)
        beside = (row * length + t) * states + n
        to = tl.load(b + beside, mask=t < length, other=0).to(tl.float32)
        fro = tl.load(c + beside, mask=t < length, other=0).to(tl.float32)
        gain = tl.exp(step * rate[None, :])
        gain_next = tl.exp(step_next * rate[None, :])
        if RESETS:
            gain = tl.where(flag[:, None], 0.0, gain)
            gain_next = tl.where(flag_next[:, None], 0.0, gain_next)
        new = now * step * to[:, None]
        gains, h = tl.associative_scan((gain, new), 0, _join)
        h += gains * tl.load(path + enter + n * width, mask=e < width, other=0)[None, :]
        gains, g = tl.associative_scan((tl.where(last, 1.0, gain_next), push * fro[:, None]), 0, _join, reverse=True)
        g += gains * tl.load(back + leave + n * width, mask=e < width, other=0)[None, :]
        into += g * to[:, None]
        turn = g * (h - new)  # the gradient of delta A
        turned += turn * rate[None, :]
        tl.store(rates_out + n * width, tl.sum(turn * step, 0), mask=e < width)
        tl.store(db + part + beside, tl.sum(g * step * now, 1), mask=t < length)
        tl.store(dc + part + beside, tl.sum(push * h, 1), mask=t < length)
    tl.store(dx + at, (into * step).to(dx.dtype.element_ty), mask=here)
    tl.store(ddelta + at, (turned + into * now).to(ddelta.dtype.element_ty), mask=here)
