"""The compiled loops of selective_scan: sixteen channels side by side in the lanes of a processor's vectors.

Imported on first use only, since numba takes a second to load. States lie as (E / 16, N, 16): for sixteen channels one
vector a state. A job is one row of the batch and `WIDTH` channels; it holds in nearby memory what a block of time needs.
Rates are in halvings, a * log2 e. Compiled code is kept on disk where numba finds a folder to write to.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

LANES = 16
WIDTH = 128  # channels of a job, at most
TOKENS = 32  # of a block, whose states are made again in the backward pass
# 2^f is 1 and these times f, f^2, ...: in float32 a fit of relative error 2e-9 for |f| <= 1/2, in float64 its series
SINGLE = (0.6931472028552794, 0.24022647913555176, 0.05550332470757742, 0.009618437364066361, 0.0013398874534690589,
          0.00015353360554751748)  # fmt: skip
DOUBLE = tuple(math.log(2) ** k / math.factorial(k) for k in range(1, 14))


# ---- vectors


class Lanes(types.Type):
    """Sixteen numbers that are computed with at once."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"Lanes({dtype})")


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, ir.VectorType(manager.lookup(kind.dtype).get_value_type(), LANES))


@intrinsic
def load(typing: Any, array: Any, i: Any) -> Any:
    """The i-th sixteen numbers of a contiguous array."""
    out = Lanes(array.dtype)

    def code(context, builder, sig, args):
        return builder.load(_place(context, builder, sig, args, context.get_value_type(out)), align=4)

    return out(array, types.intp), code


@intrinsic
def store(typing: Any, array: Any, i: Any, v: Any) -> Any:
    def code(context, builder, sig, args):
        builder.store(args[2], _place(context, builder, sig, args, args[2].type), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, v), code


def _place(context, builder, sig, args, kind):
    array = context.make_array(sig.args[0])(context, builder, args[0])
    first = builder.gep(array.data, [builder.mul(args[1], ir.Constant(args[1].type, LANES))])
    return builder.bitcast(first, kind.as_pointer())


@intrinsic
def splat(typing: Any, s: Any) -> Any:
    """A number in all lanes."""
    out = Lanes(s)

    def code(context, builder, sig, args):
        none = ir.Constant(context.get_value_type(out), ir.Undefined)
        one = builder.insert_element(none, args[0], ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(one, none, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))

    return out(s), code


@intrinsic
def total(typing: Any, v: Any) -> Any:
    """The sum over lanes."""

    def code(context, builder, sig, args):
        one = args[0].type.element
        add = _builtin(builder, "vector.reduce.fadd", one, [one, args[0].type])
        return builder.call(add, [ir.Constant(one, 0), args[0]], fastmath=("reassoc",))

    return v.dtype(v), code


@intrinsic
def power(typing: Any, x: Any) -> Any:
    """2^x = 2^f 2^k, k the nearest whole number: 2^f by a polynomial, 2^k by its exponent's bits; 0 where that ends."""

    def code(context, builder, sig, args):
        (x,), kind = args, args[0].type
        single = x.type.element == ir.FloatType()
        bits, low, shift = (32, -127, 23) if single else (64, -1023, 52)
        whole = ir.VectorType(ir.IntType(bits), LANES)

        def all_of(number, kind=kind):
            return ir.Constant(kind, [number] * LANES)

        for sign, bound in (("<", all_of(float(low))), (">", all_of(float(1 - low)))):
            x = builder.select(builder.fcmp_ordered(sign, x, bound), bound, x)  # leaves what is no number as it is
        k = builder.call(_builtin(builder, "rint", kind, [kind]), [x])
        f = builder.fsub(x, k)
        first, *rest = reversed(SINGLE if single else DOUBLE)
        p = all_of(first)
        for c in (*rest, 1.0):
            p = builder.fadd(builder.fmul(p, f, flags=("contract",)), all_of(c), flags=("contract",))
        k = builder.add(builder.fptosi(k, whole), all_of(-low, whole))
        return builder.fmul(p, builder.bitcast(builder.shl(k, all_of(shift, whole)), kind))

    return x(x), code


def _builtin(builder, name, returns, takes):
    """One of LLVM's own functions, for vectors of the kind it takes last."""
    bits = 32 if takes[-1].element == ir.FloatType() else 64
    made = ir.FunctionType(returns, takes)
    return cgutils.get_or_insert_function(builder.module, made, f"llvm.{name}.v{LANES}f{bits}")


def _pairwise(name: str) -> Any:
    @intrinsic
    def run(typing, a, b):
        def code(context, builder, sig, args):
            return getattr(builder, name)(*args, flags=("contract",))

        return a(a, b), code

    return run


_mul, _add = _pairwise("fmul"), _pairwise("fadd")


@overload(operator.mul)
def _times(a, b):
    return (lambda a, b: _mul(a, b)) if isinstance(a, Lanes) and isinstance(b, Lanes) else None


@overload(operator.add)
def _plus(a, b):
    return (lambda a, b: _add(a, b)) if isinstance(a, Lanes) and isinstance(b, Lanes) else None


# ---- loops


@njit
def _near(near, x, row, begin, tokens, left, wide):
    """A job's part of a block of (B, T, E), packed: read at once, since its rows lie far apart."""
    for i in range(tokens):
        near[i * wide : (i + 1) * wide] = x[row, begin + i, left : left + wide]


def _forward(first, last, x, delta, a, b, c, cut, h, ends, y):
    """Jobs first to last: moves the states h (B, E N) on, fills y (B, T, E) and ends (B, n or 0, E N), what enters blocks.

    x, delta (B, T, E), a (E N,), b, c (B, T, N), cut (B, T): -inf before a reset, else 0.
    """
    _, length, width = x.shape
    states, jobs, zero = b.shape[2], -(-width // WIDTH), x.dtype.type(0)
    near_x, near_delta = np.empty(TOKENS * WIDTH, x.dtype), np.empty(TOKENS * WIDTH, x.dtype)
    for job in range(first, last):
        row, left = job // jobs, job % jobs * WIDTH
        wide = min(WIDTH, width - left)
        many, rates = wide // LANES, left // LANES * states
        state = row * (width // LANES) * states + rates
        for begin in range(0, length, TOKENS):
            tokens = min(TOKENS, length - begin)
            if ends.shape[1]:
                own = slice(left * states, (left + wide) * states)
                ends[row, begin // TOKENS, own] = h[row, own]
            _near(near_x, x, row, begin, tokens, left, wide)
            _near(near_delta, delta, row, begin, tokens, left, wide)
            for v in range(many):
                for i in range(tokens):
                    t, at = begin + i, i * many + v
                    step, out, drop = load(near_delta, at), splat(zero), splat(cut[row, t])
                    new = step * load(near_x, at)
                    for n in range(states):
                        k = v * states + n
                        gain = power(step * load(a, rates + k) + drop)
                        now = gain * load(h, state + k) + new * splat(b[row, t, n])
                        store(h, state + k, now)
                        out = out + now * splat(c[row, t, n])
                    store(y, ((row * length + t) * width + left) // LANES + v, out)


def _backward(first, last, x, delta, a, b, c, cut, ends, dy, dh, dx, ddelta, da, db, dc):
    """Jobs first to last: turns dh (B, E N) of the last states into that of the first ones and fills the other gradients.

    dx, ddelta (B, T, E), da (B, E N) of a row each, db, dc (jobs a row, B, T, N).
    """
    _, length, width = x.shape
    states, jobs, zero, unit = b.shape[2], -(-width // WIDTH), x.dtype.type(0), x.dtype.type(math.log(2))
    near_x, near_delta, near_dy = [np.empty(TOKENS * WIDTH, x.dtype) for _ in range(3)]
    path = np.empty((TOKENS + 1) * states * LANES, x.dtype)
    gains, part_b, part_c = [np.empty(TOKENS * states * LANES, x.dtype) for _ in range(3)]
    for job in range(first, last):
        row, left = job // jobs, job % jobs * WIDTH
        wide = min(WIDTH, width - left)
        many, rates = wide // LANES, left // LANES * states
        state = row * (width // LANES) * states + rates
        da[row, left * states : (left + wide) * states] = 0
        for block in range(ends.shape[1] - 1, -1, -1):
            begin = block * TOKENS
            tokens = min(TOKENS, length - begin)
            entered = (row * ends.shape[1] + block) * (width // LANES) * states + rates
            _near(near_x, x, row, begin, tokens, left, wide)
            _near(near_delta, delta, row, begin, tokens, left, wide)
            _near(near_dy, dy, row, begin, tokens, left, wide)
            part_b[:] = 0
            part_c[:] = 0
            for v in range(many):
                for n in range(states):
                    store(path, n, load(ends, entered + v * states + n))
                for i in range(tokens):
                    t, at = begin + i, i * many + v
                    step, drop = load(near_delta, at), splat(cut[row, t])
                    new = step * load(near_x, at)
                    for n in range(states):
                        k = i * states + n
                        gain = power(step * load(a, rates + v * states + n) + drop)
                        store(gains, k, gain)
                        store(path, k + states, gain * load(path, k) + new * splat(b[row, t, n]))
                for i in range(tokens - 1, -1, -1):
                    t, at = begin + i, i * many + v
                    step, value, back = load(near_delta, at), load(near_x, at), load(near_dy, at)
                    new, from_new, from_step = step * value, splat(zero), splat(zero)
                    for n in range(states):
                        k, j = i * states + n, v * states + n
                        g = load(dh, state + j) + back * splat(c[row, t, n])
                        store(part_c, k, load(part_c, k) + back * load(path, k + states))
                        store(part_b, k, load(part_b, k) + g * new)
                        from_new = from_new + g * splat(b[row, t, n])
                        g = g * load(gains, k)
                        store(dh, state + j, g)
                        g = g * load(path, k)  # from here on: the gradient of delta * a
                        from_step = from_step + g * load(a, rates + j)
                        store(da, state + j, load(da, state + j) + g * step)
                    out = ((row * length + t) * width + left) // LANES + v
                    store(dx, out, from_new * step)
                    store(ddelta, out, from_new * value + from_step * splat(unit))
            for i in range(tokens):
                for n in range(states):
                    db[job % jobs, row, begin + i, n] = total(load(part_b, i * states + n))
                    dc[job % jobs, row, begin + i, n] = total(load(part_c, i * states + n))


def _compiled(loop: Any) -> Any:
    try:
        return njit(nogil=True, cache=True)(loop)
    except RuntimeError:  # no folder to write to: compiled anew in each process
        return njit(nogil=True)(loop)


forward, backward = _compiled(_forward), _compiled(_backward)
