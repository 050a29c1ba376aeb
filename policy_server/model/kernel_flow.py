"""The flow on the kernels of `kernels.py`: what plain sampling runs on a GPU that can.

The same numbers as `fast.sample` within rounding. A token's rows stay in one matrix of all the batch from the first
layer to the last; guidance is differentiated and takes `fast.velocity` instead.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from policy_server.model import dims, gemma, kernels
from policy_server.model.fast import (
    Context,
    Norm,
    Plan,
    direction,
    embed,
    final_norm,
    flow,
    normalise,
    suffix,
    suffix_layer,
    suffix_norms,
)
from policy_server.model.fused import Layer, Modulation, Step, Weights
from policy_server.model.pi0 import Inputs

PARTS = 4
"""Shares of the long side of a product: without, too few programs read its weights."""


class Shared(NamedTuple):
    """What all steps and layers need besides their own: see `kernels.attend`."""

    rotation: tuple[Array, Array]
    seen: Array
    own: Array


def fits(sizes: dims.Pi0) -> bool:
    """Whether the kernels take such a model: blocks must divide its sizes, and a step's tokens fill one block."""
    s = sizes.suffix
    powers = (s.width, s.num_heads, s.head_dim)
    return (
        s.num_kv_heads == 1
        and sizes.num_suffix_tokens <= kernels.ROWS
        and all(size & (size - 1) == 0 for size in powers)
        and min(s.width, s.mlp_dim // PARTS, s.num_heads * s.head_dim // PARTS) >= 128
        and s.mlp_dim % (PARTS * 128) == 0
        and s.head_dim >= 32
    )


def sample(weights: Weights, inputs: Inputs, noise: Array, plan: Plan) -> Array:
    """Actions as of `fast.sample`."""
    context = embed(weights, inputs, plan)
    return run_flow(weights, context, noise, plan)


def run_flow(weights: Weights, context: Context, noise: Array, plan: Plan) -> Array:
    """From noise to actions."""
    shared, dt = share(context), jnp.float32(1 / plan.num_steps)
    towards = partial(velocity, weights, context, shared, plan=plan)
    return flow(weights.steps, noise, plan, lambda x, step: x - dt * towards(x, step))


def velocity(weights: Weights, context: Context, shared: Shared, x: Array, step: Step, plan: Plan) -> Array:
    """As `fast.velocity`."""
    b, n = len(x), plan.sizes.num_suffix_tokens
    tokens = suffix(weights, context, x, step).astype(plan.dtype)
    norms = [norm for i in range(len(weights.suffix)) for norm in suffix_norms(weights, step, i)]
    norms.append(final_norm(weights, step))
    y = _layers(weights.suffix, norms, context, shared, tokens)
    return direction(weights, y.reshape(b, kernels.ROWS, -1)[:, n - plan.sizes.action_horizon : n])


def _layers(layers: list[Layer], norms: list[Norm], context: Context, shared: Shared, tokens: Array) -> Array:
    """Rows (m, d), normalised by the last of `norms`, of tokens (b, t, d) after all layers."""
    n, width = tokens.shape[1:]
    y = jnp.pad(tokens, ((0, 0), (0, kernels.ROWS - n), (0, 0))).reshape(-1, width)
    normed = normalise(norms[0], y)
    for i, (layer, (keys, values)) in enumerate(zip(layers, context.cache, strict=True)):
        attn, ffn, following = norms[2 * i : 2 * i + 3]
        heads = kernels.product(normed, layer.qkv)
        seen = kernels.attend(heads, shared.rotation, keys[:, :, 0], values[:, :, 0], shared.seen, shared.own)
        y, normed = _settle(kernels.product(seen, layer.out, parts=PARTS), y, attn, ffn)
        hidden = kernels.gated(normed, layer.gate_up)
        y, normed = _settle(kernels.product(hidden, layer.down, parts=PARTS), y, ffn, following)
    return normed


def error_of_a_layer(sizes: dims.Pi0, device: jax.Device, options: dict[str, Any] | None = None) -> float:
    """How far one layer of random weights lies from what XLA makes of it, relatively. options: of the compiler."""
    s, n, seen = sizes.suffix, sizes.num_suffix_tokens, 2 * kernels.KEYS - 5
    keys = iter(jax.random.split(jax.random.key(0), 8))
    with jax.default_device(device):

        def random(*shape: int) -> Array:
            return jax.random.normal(next(keys), shape, jnp.bfloat16)

        heads = (s.num_heads + 2) * s.head_dim
        shapes = (s.width, heads), (s.num_heads * s.head_dim, s.width), (s.width, 2 * s.mlp_dim), (s.mlp_dim, s.width)
        qkv, out, gate_up, down = (random(*shape) * shape[0] ** -0.5 for shape in shapes)
        norm = jnp.ones(s.width)
        layer = Layer(norm, qkv, out, norm, gate_up, down)
        cache = random(1, seen, 1, s.head_dim), random(1, seen, 1, s.head_dim)
        mask = jnp.broadcast_to(jnp.arange(seen + n) != 7, (1, n, seen + n))
        context = Context([cache], mask, gemma.rotation(jnp.arange(n)[None], s.head_dim), None)
        tokens = random(1, n, s.width)

        def by_kernels(tokens: Array) -> Array:
            return _layers([layer], [norm] * 3, context, share(context), tokens)[:n]

        def by_xla(tokens: Array) -> Array:
            return normalise(norm, suffix_layer(layer, (norm, norm), tokens, cache, context, s))[0]

        ours, want = (
            jax.jit(run, compiler_options=options)(tokens).astype(jnp.float32) for run in (by_kernels, by_xla)
        )
        return float(jnp.linalg.norm(ours - want) / jnp.linalg.norm(want))


def _settle(parts: Array, y: Array, norm: Norm, following: Norm) -> tuple[Array, Array]:
    """norm: that of the block that `parts` come from."""
    if isinstance(norm, Modulation) and isinstance(following, Modulation):
        return kernels.settle(parts, y, following.scale, following.shift, norm.gate)
    assert not isinstance(following, Modulation)
    return kernels.settle(parts, y, following)


def share(context: Context) -> Shared:
    """Made once, whatever the step: XLA takes it out of the loop."""
    n = context.mask.shape[1]
    s = context.mask.shape[2] - n
    more = kernels.ROWS - n
    sin, cos = (jnp.pad(part[:, :, 0], ((0, 0), (0, more), (0, 0))) for part in context.rotation)
    own = jnp.pad(context.mask[0, :, s:], (0, more))
    return Shared((sin, cos), *(jnp.where(seen, 0.0, kernels.HIDDEN) for seen in (context.mask[:, 0, :s], own)))
