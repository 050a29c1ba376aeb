"""The transformer: two Gemma experts that attend to one another, each with weights of its own.

The readable form, on arrays whose paths equal the checkpoint's (`PaliGemma/llm`, layers stacked on axis 0, adapters
merged); what is served is `fast.py`, which must agree with it. Expert 0 reads pictures and prompt, expert 1 writes
actions; either may be absent from a call. Letters: b batch, t queries, s keys, d width, n heads, k key heads,
g heads per key head, h width of a head. Normalisation, rotation, logits and softmax are float32.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array

from policy_server.model import dims

Params = dict[str, Any]
Cache: TypeAlias = tuple[Array, Array]
"""Keys (rotated) and values of every layer: (depth, b, s, k, h)."""

EPSILON = 1e-6
MASKED = -2.3819763e38
"""The logit of a key that may not be seen."""

MAX_WAVELENGTH = 10_000


def embed(params: Params, tokens: Array) -> Array:
    """Prompt tokens (b, t) as vectors (b, t, d), scaled by √d in the table's own type."""
    table: Array = params["embedder"]["input_embedding"]
    return table[tokens] * jnp.sqrt(table.shape[1]).astype(table.dtype)


def forward(
    params: Params,
    xs: tuple[Array | None, Array | None],
    positions: Array,
    mask: Array,
    sizes: dims.Pi0,
    *,
    condition: Array | None = None,
    cache: Cache | None = None,
) -> tuple[tuple[Array | None, Array | None], Cache]:
    """Outputs of each expert (b, t_i, d_i), and the keys and values of all tokens seen.

    positions: (b, t) of the tokens of `xs`, one expert after the other. mask: (b, t, s), keys of `cache` first.
    condition: (b, d_1), what the adaptive norms of expert 1 depend on; None for plain norms.
    """

    def layer(xs: Any, scanned: Any) -> Any:
        weights, cached = scanned
        return _layer(weights, xs, positions, mask, sizes, condition, cached)

    xs, seen = jax.lax.scan(layer, xs, (params["layers"], cache))
    norms = (params["final_norm"], params["final_norm_1"])
    conditions = (None, condition)
    outs = [None if x is None else rms_norm(n, x, c)[0] for n, x, c in zip(norms, xs, conditions, strict=True)]
    return (outs[0], outs[1]), seen


def _layer(
    weights: Params, xs: Any, positions: Array, mask: Array, sizes: dims.Pi0, condition: Array | None, cached: Any
) -> tuple[Any, Cache]:
    experts = [i for i, x in enumerate(xs) if x is not None]
    names = {i: "" if i == 0 else f"_{i}" for i in experts}
    conditions = (None, condition)
    xs = list(xs)

    gates, qkvs = {}, []
    for i in experts:
        y, gates[i] = rms_norm(weights[f"pre_attention_norm{names[i]}"], xs[i], conditions[i])
        qkvs.append(_project(weights["attn"], names[i], y))
    q, k, v = (jnp.concatenate(parts, axis=1) for parts in zip(*qkvs, strict=True))
    q = rotate(q, positions) * sizes.prefix.head_dim**-0.5
    k = rotate(k, positions)
    if cached is not None:
        k, v = jnp.concatenate([cached[0], k], axis=1), jnp.concatenate([cached[1], v], axis=1)
    seen = attend(q, k, v, mask)

    start = 0
    for i in experts:
        part = seen[:, start : start + xs[i].shape[1]]
        start += xs[i].shape[1]
        w = weights["attn"][f"attn_vec_einsum{names[i]}"]["w"].astype(part.dtype)
        xs[i] = _add(xs[i], jnp.einsum("btnh,nhd->btd", part, w), gates[i])
        y, gate = rms_norm(weights[f"pre_ffw_norm{names[i]}"], xs[i], conditions[i])
        xs[i] = _add(xs[i], _feed_forward(weights[f"mlp{names[i]}"], y), gate)
    return tuple(xs), (k, v)


def _project(attn: Params, name: str, x: Array) -> tuple[Array, Array, Array]:
    """Queries (b, t, n, h), keys and values (b, t, k, h); one leaf for all three where every head has its own key."""
    if f"qkv_einsum{name}" in attn:
        q, k, v = jnp.einsum("btd,cndh->cbtnh", x, attn[f"qkv_einsum{name}"]["w"].astype(x.dtype))
        return q, k, v
    q = jnp.einsum("btd,ndh->btnh", x, attn[f"q_einsum{name}"]["w"].astype(x.dtype))
    k, v = jnp.einsum("btd,ckdh->cbtkh", x, attn[f"kv_einsum{name}"]["w"].astype(x.dtype))
    return q, k, v


def attend(q: Array, k: Array, v: Array, mask: Array) -> Array:
    """What queries (b, t, n, h) see of keys and values (b, s, k, h) where mask (b, t, s) allows: (b, t, n, h)."""
    b, t, n, h = q.shape
    grouped = q.reshape(b, t, k.shape[2], -1, h)
    logits = jnp.einsum("btkgh,bskh->bkgts", grouped, k, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(jnp.where(mask[:, None, None], logits, MASKED)).astype(v.dtype)
    return jnp.einsum("bkgts,bskh->btkgh", weights, v).reshape(b, t, n, h)


def rotate(x: Array, positions: Array) -> Array:
    """Rotary positions: x (b, t, n, h) turned by positions (b, t); the first half pairs with the second."""
    sin, cos = rotation(positions, x.shape[-1])
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)


def rotation(positions: Array, head_dim: int) -> tuple[Array, Array]:
    """Sine and cosine of every position (b, t) at every wavelength: float32 (b, t, 1, h / 2)."""
    exponents = (2.0 / head_dim) * jnp.arange(head_dim // 2, dtype=jnp.float32)
    radians = positions[..., None] / MAX_WAVELENGTH**exponents
    return jnp.sin(radians)[:, :, None], jnp.cos(radians)[:, :, None]


def rms_norm(params: Params, x: Array, condition: Array | None = None) -> tuple[Array, Array | None]:
    """Normalise (b, t, d) in float32; with a condition (b, d_1) also the gate (b, 1, d) of the residual."""
    wide = x.astype(jnp.float32)
    normed = wide * jax.lax.rsqrt(jnp.square(wide).mean(-1, keepdims=True) + EPSILON)
    if condition is None:
        return (normed * (1 + params["scale"].astype(jnp.float32))).astype(x.dtype), None
    modulation = params["Dense_0"]
    kernel, bias = modulation["kernel"].astype(x.dtype), modulation["bias"].astype(x.dtype)
    scale, shift, gate = jnp.split((condition.astype(x.dtype) @ kernel + bias)[:, None], 3, axis=-1)
    return (normed * (1 + scale.astype(jnp.float32)) + shift).astype(x.dtype), gate


def _feed_forward(params: Params, x: Array) -> Array:
    gate, up = params["gating_einsum"].astype(x.dtype)
    return (jax.nn.gelu(x @ gate, approximate=True) * (x @ up)) @ params["linear"].astype(x.dtype)


def _add(x: Array, y: Array, gate: Array | None) -> Array:
    return x + y if gate is None else x + y * gate
