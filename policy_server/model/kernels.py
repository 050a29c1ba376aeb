"""The flow's layers on a GPU: eight kernels a layer in place of the sixteen that XLA makes of it.

A step of the flow has so few tokens that starting a kernel takes as long as reading the weights of a product. The
kernels here take in what lies between the products (norms, rotation, softmax, gates), so that fewer are started. They
are written in Pallas for its Triton compiler, which newer versions of JAX call deprecated; `fast.py` says the same in
XLA's words and is what runs elsewhere. Block sizes are the fastest of those tried on an H200 with 51 tokens a step.

Rows: every element of a batch has ROWS of them, its tokens first; what the others hold is finite and means nothing.
Letters: b batch, m = b · ROWS, d width, n heads, h width of a head, s keys of the prefix.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from policy_server.model.gemma import EPSILON

ROWS = 64
"""A tensor core of this decade multiplies 64 rows at a time."""

KEYS = 128
"""Keys that one program of the attention sees: the prefix is shared out among many."""

TOKENS = 8
"""Tokens whose queries one program of the attention answers, all heads."""

COMBINED = 4
"""Rows of one program that puts the shares' answers together."""

HIDDEN = -1e30
"""Added to the logit of a key that may not be seen. Finite: a program may see no key at all."""


def product(x: Array, w: Array, *, parts: int = 1, block: int = 32, depth: int = 128) -> Array:
    """x (m, d) · w (d, e): (m, e), or with several `parts` float32 (parts, m, e), to be summed up by `settle`.

    A part multiplies its share of d. block: columns of one program. depth: of d at a time.
    """
    m, (d, e) = len(x), w.shape
    share = d // parts
    depth = min(depth, share)
    out = jax.ShapeDtypeStruct((m, e), x.dtype) if parts == 1 else jax.ShapeDtypeStruct((parts, m, e), jnp.float32)
    return _call(
        partial(_product, depth=depth),
        "product",
        grid=(m // ROWS, e // block, parts),
        in_specs=[
            pl.BlockSpec((ROWS, share), lambda i, j, k: (i, k)),
            pl.BlockSpec((share, block), lambda i, j, k: (k, j)),
        ],
        out_specs=pl.BlockSpec((ROWS, block), lambda i, j, k: (i, j))
        if parts == 1
        else pl.BlockSpec((None, ROWS, block), lambda i, j, k: (k, i, j)),
        out_shape=out,
        stages=4,
    )(x, w)


def _product(x: Any, w: Any, out: Any, *, depth: int) -> None:
    def add(i: Array, total: Array) -> Array:
        at = pl.ds(i * depth, depth)
        return total + _dot(x[:, at], w[at, :])

    zero = jnp.zeros((x.shape[0], w.shape[1]), jnp.float32)
    out[...] = lax.fori_loop(0, x.shape[1] // depth, add, zero).astype(out.dtype)


def gated(x: Array, w: Array, *, block: int = 32, depth: int = 128) -> Array:
    """gelu(x · gate) · (x · up): (m, e) of x (m, d) and w (d, 2·e), gates first."""
    m, d = x.shape
    e = w.shape[1] // 2
    half = e // block
    return _call(
        partial(_gated, depth=min(depth, d)),
        "gated",
        grid=(m // ROWS, half),
        in_specs=[
            pl.BlockSpec((ROWS, d), lambda i, j: (i, 0)),
            pl.BlockSpec((d, block), lambda i, j: (0, j)),
            pl.BlockSpec((d, block), lambda i, j: (0, half + j)),
        ],
        out_specs=pl.BlockSpec((ROWS, block), lambda i, j: (i, j)),
        out_shape=jax.ShapeDtypeStruct((m, e), x.dtype),
        stages=4,
    )(x, w, w)


def _gated(x: Any, gates: Any, ups: Any, out: Any, *, depth: int) -> None:
    gate, up = _two_products(x, gates, ups, depth)
    out[...] = (jax.nn.gelu(gate, approximate=True) * up).astype(out.dtype)


def settle(
    parts: Array, x: Array, scale: Array, shift: Array | None = None, gate: Array | None = None
) -> tuple[Array, Array]:
    """x (m, d) plus the sum of a product's parts (p, m, d), times `gate` if there is one; and that, normalised.

    scale, shift, gate: (d,), of adaptive norms all three.
    """
    m, d = x.shape
    vectors = [v for v in (scale, shift, gate) if v is not None]
    row = pl.BlockSpec((None, d), lambda i: (i, 0))
    return _call(
        _settle,
        "settle",
        grid=(m,),
        in_specs=[
            pl.BlockSpec((len(parts), None, d), lambda i: (0, i, 0)),
            row,
            *[pl.BlockSpec((d,), lambda i: (0,)) for _ in vectors],
        ],
        out_specs=[row, row],
        out_shape=[jax.ShapeDtypeStruct((m, d), x.dtype)] * 2,
    )(parts, x, *vectors)


def _settle(parts: Any, x: Any, scale: Any, *more: Any) -> None:
    *adaptive, y, normed = more
    total = parts[0]
    for i in range(1, parts.shape[0]):
        total += parts[i]
    if adaptive:
        total *= adaptive[1][...].astype(jnp.float32)
    y[...] = (x[...].astype(jnp.float32) + total).astype(y.dtype)
    wide = y[...].astype(jnp.float32)
    wide *= lax.rsqrt(jnp.mean(jnp.square(wide)) + EPSILON) * scale[...]
    if adaptive:
        wide += adaptive[0][...]
    normed[...] = wide.astype(normed.dtype)


def _two_products(x: Any, v: Any, w: Any, depth: int) -> tuple[Array, Array]:
    def add(i: Array, totals: tuple[Array, Array]) -> tuple[Array, Array]:
        at = pl.ds(i * depth, depth)
        y = x[:, at]
        return totals[0] + _dot(y, v[at, :]), totals[1] + _dot(y, w[at, :])

    zero = jnp.zeros((x.shape[0], v.shape[1]), jnp.float32)
    return lax.fori_loop(0, x.shape[1] // depth, add, (zero, zero))


def attend(qkv: Array, rotation: tuple[Array, Array], keys: Array, values: Array, seen: Array, own: Array) -> Array:
    """What each head sees of the prefix and of its own rows: (m, n·h).

    qkv: (m, (n + 2)·h), not rotated. rotation: sine and cosine (b, ROWS, h / 2) of its rows. keys, values: (b, s, h),
    rotated. seen: (b, s), own: (ROWS, ROWS), what is added to logits: 0 or HIDDEN.
    """
    b, s, h = keys.shape
    n = qkv.shape[1] // h - 2
    shares = pl.cdiv(s, KEYS)
    qkv = qkv.reshape(b, ROWS, n + 2, h)
    some = [pl.BlockSpec((None, TOKENS, h // 2), lambda b, i, j: (b, i, 0))] * 2
    all_ = [pl.BlockSpec((None, ROWS, h // 2), lambda b, i, j: (b, 0, 0))] * 2
    share = pl.BlockSpec((None, KEYS, h), lambda b, i, j: (b, jnp.minimum(j, shares - 1), 0))
    sums = (b, shares + 1, ROWS * n)
    parts = _call(
        partial(_attend, num_keys=s),
        "attend",
        grid=(b, ROWS // TOKENS, shares + 1),
        in_specs=[
            pl.BlockSpec((None, TOKENS, n + 2, h), lambda b, i, j: (b, i, 0, 0)),
            pl.BlockSpec((None, ROWS, n + 2, h), lambda b, i, j: (b, 0, 0, 0)),
            *some,
            *all_,
            share,
            share,
            pl.BlockSpec((None, KEYS), lambda b, i, j: (b, jnp.minimum(j, shares - 1))),
            pl.BlockSpec((TOKENS, ROWS), lambda b, i, j: (i, 0)),
        ],
        out_specs=[
            pl.BlockSpec((None, None, TOKENS * n, h), lambda b, i, j: (b, j, i, 0)),
            *[pl.BlockSpec((None, None, TOKENS * n), lambda b, i, j: (b, j, i))] * 2,
        ],
        out_shape=[jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((*sums, h), sums, sums)],
        warps=8,
    )(qkv, qkv, *rotation, *rotation, keys, values, seen, own)
    out = _call(
        _combine,
        "combine",
        grid=(b, ROWS * n // COMBINED),
        in_specs=[
            pl.BlockSpec((None, shares + 1, COMBINED, h), lambda b, i: (b, 0, i, 0)),
            *[pl.BlockSpec((None, shares + 1, COMBINED), lambda b, i: (b, 0, i))] * 2,
        ],
        out_specs=pl.BlockSpec((None, COMBINED, h), lambda b, i: (b, i, 0)),
        out_shape=jax.ShapeDtypeStruct((b, ROWS * n, h), qkv.dtype),
    )(*parts)
    return out.reshape(b * ROWS, n * h)


def _attend(
    mine: Any, ours: Any, sin: Any, cos: Any, all_sin: Any, all_cos: Any, keys: Any, values: Any, seen: Any, own: Any,
    out: Any, top: Any, total: Any, *, num_keys: int,
) -> None:  # fmt: skip
    """One share of the keys, or after the last the rows' own: weighted values, the largest logit, the weights' sum."""
    tokens, columns, h = mine.shape
    n, half, share = columns - 2, h // 2, pl.program_id(2)
    halves = pl.ds(0, half), pl.ds(half, half)
    heads = pl.ds(0, n)
    turned = _turn([mine[:, heads, part] for part in halves], sin[...][:, None], cos[...][:, None])
    q = [part.reshape(tokens * n, half) for part in turned]

    def see(k: list[Array], v: list[Array], bias: Array) -> None:
        logits = (_dot(q[0], k[0].T) + _dot(q[1], k[1].T)) * h**-0.5 + bias
        most = jnp.max(logits, axis=1)
        weights = jnp.exp(logits - most[:, None])
        top[...] = most
        total[...] = jnp.sum(weights, axis=1)
        for part, value in zip(halves, v, strict=True):
            out[:, part] = _dot(weights.astype(value.dtype), value)

    @pl.when(share < pl.num_programs(2) - 1)
    def _() -> None:
        there = share * keys.shape[0] + jnp.arange(keys.shape[0]) < num_keys
        k, v = (
            [triton.load(ref.at[:, part], mask=there[:, None], other=0) for part in halves] for ref in (keys, values)
        )
        see(k, v, triton.load(seen.at[:], mask=there, other=HIDDEN)[None])

    @pl.when(share == pl.num_programs(2) - 1)
    def _() -> None:
        k = _turn([ours[:, n, part] for part in halves], all_sin[...], all_cos[...])
        bias = jnp.broadcast_to(own[...][:, None], (tokens, n, own.shape[1])).reshape(tokens * n, own.shape[1])
        see(k, [ours[:, n + 1, part] for part in halves], bias)


def _combine(parts: Any, tops: Any, totals: Any, out: Any) -> None:
    """The shares' answers, weighed by what each saw."""
    shares = range(parts.shape[0])
    top = tops[0]
    for i in shares:
        top = jnp.maximum(top, tops[i])
    weights = [jnp.exp(tops[i] - top) for i in shares]
    total = sum(weights[i] * totals[i] for i in shares)
    seen = sum(parts[i] * (weights[i] / total)[:, None] for i in shares)
    out[...] = seen.astype(out.dtype)


def _turn(halves: list[Array], sin: Array, cos: Array) -> list[Array]:
    """Rotated halves of heads."""
    a, b = (half.astype(jnp.float32) for half in halves)
    return [half.astype(halves[0].dtype) for half in (a * cos - b * sin, b * cos + a * sin)]


def _dot(a: Array, b: Array) -> Array:
    return jnp.dot(a, b, preferred_element_type=jnp.float32)


def _call(kernel: Any, name: str, *, warps: int = 4, stages: int = 1, **how: Any) -> Any:
    """Elsewhere than on a GPU the kernel is interpreted: slow, and good for tests."""
    return pl.pallas_call(
        kernel,
        name=name,
        interpret=jax.default_backend() == "cpu",
        compiler_params=triton.CompilerParams(num_warps=warps, num_stages=stages),
        **how,
    )
