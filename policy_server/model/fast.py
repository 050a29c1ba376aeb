"""From uint8 pictures to actions in one compiled call: what the server runs.

The same numbers as `pi0.py` within rounding, on the fused weights. All cameras pass the vision tower as one batch,
keys and values of the prefix are computed once, layers are unrolled (so that the last prefix layer, of which only
keys and values matter, costs no more than those), nothing returns to the host before the actions.

The prefix is packed: its valid tokens come first. Their order means nothing to attention, their positions go with
them, and flash attention needs a length instead of a mask, which would take three times as long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from policy_server.model import dims, gemma, siglip
from policy_server.model.attention import Implementation
from policy_server.model.fused import Affine, Layer, Modulation, Step, Vision, VisionLayer, Weights
from policy_server.model.pi0 import Inputs, normalise_pixels, prefix_mask, suffix_mask

Norm = Array | Modulation
Rotation = tuple[Array, Array]
"""Sine and cosine of every position: (b, t, 1, h / 2) float32."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a program is compiled for, besides the shapes of its arguments.

    dtype: of weights and activations. *_attention: of the pictures and of the prefix; the flow's few queries gain
    nothing from flash attention. unroll: whether the flow's steps are written out (five times the compilation for
    no gain on an H200) or a loop. kernels: whether the flow's layers run as `kernels.py`.
    """

    sizes: dims.Pi0
    num_steps: int
    dtype: Literal["bfloat16", "float32"]
    vision_attention: Implementation = "xla"
    prefix_attention: Implementation = "xla"
    unroll: bool = False
    kernels: bool = False


class Context(NamedTuple):
    """What the flow's steps share.

    cache: keys and values (b, s, k, h) of the prefix in every layer. mask: who of the suffix may see whom,
    (b, t, s + t). rotation: of the suffix's positions. state: its token (b, 1, d_1) for π0.
    """

    cache: list[tuple[Array, Array]]
    mask: Array
    rotation: Rotation
    state: Array | None


def sample(weights: Weights, inputs: Inputs, noise: Array, plan: Plan) -> Array:
    """Actions (b, horizon, action_dim) float32, normalised, from noise of that shape."""
    context = embed(weights, inputs, plan)
    dt = jnp.float32(1 / plan.num_steps)
    return flow(weights.steps, noise, plan, lambda x, step: x - dt * velocity(weights, context, x, step, plan))


def flow(steps: Step, x: Array, plan: Plan, advance: Callable[[Array, Step], Array]) -> Array:
    """Run `advance` over all steps from x."""
    if plan.unroll:
        for i in range(plan.num_steps):
            x = advance(x, jax.tree.map(lambda row, i=i: row[i], steps))
        return x
    return jax.lax.scan(lambda x, step: (advance(x, step), None), x, steps)[0]


def embed(weights: Weights, inputs: Inputs, plan: Plan) -> Context:
    """Everything that is computed once: pictures, prompt and state."""
    seen = see(weights.vision, inputs.images, plan) if inputs.images.dtype == jnp.uint8 else inputs.images
    return prefix(weights, seen, inputs, plan)


def see(tower: Vision, images: Array, plan: Plan) -> Array:
    """Tokens (b · cameras, p, d_0) of uint8 pictures (b, cameras, 224, 224, 3)."""
    return vision(tower, images.reshape(-1, *images.shape[2:]), plan)


def vision(tower: Vision, pictures: Array, plan: Plan) -> Array:
    """Tokens (n, p, d_0) of uint8 pictures (n, 224, 224, 3)."""
    sizes = plan.sizes.siglip
    n, grid, patch = pictures.shape[0], sizes.grid, sizes.patch_size
    pixels = pictures[:, : grid * patch, : grid * patch]
    patches = pixels.reshape(n, grid, patch, grid, patch, 3).swapaxes(2, 3).reshape(n, grid * grid, -1)
    x = _affine(tower.patch, normalise_pixels(patches)).astype(plan.dtype)
    for layer in tower.layers:
        x = _vision_layer(layer, x, sizes, plan)
    return _affine(tower.head, _layer_norm(tower.norm, x))


def prefix(weights: Weights, seen: Array, inputs: Inputs, plan: Plan) -> Context:
    """Run the pictures' tokens (b · cameras, p, d_0) and the prompt through expert 0."""
    sizes = plan.sizes
    b, n = inputs.state.shape[0], sizes.num_suffix_tokens
    prompt = gemma.embed({"embedder": {"input_embedding": weights.embedding}}, inputs.tokens).astype(plan.dtype)
    x = jnp.concatenate([seen.reshape(b, -1, sizes.prefix.width), prompt], axis=1)
    x, count = _pack(x, prefix_mask(inputs, sizes))
    s = x.shape[1]
    rotation = gemma.rotation(jnp.arange(s)[None], sizes.prefix.head_dim)
    cache = []
    for layer in weights.prefix:
        norms = _norms(layer)
        q, k, v = _heads(layer, normalise(norms[0], x), rotation, sizes.prefix)
        cache.append((k, v))
        x = _layer(layer, norms, x, _attend(q, k, v, plan.prefix_attention, lengths=count))
    seen_by_suffix = jnp.broadcast_to((jnp.arange(s) < count[:, None])[:, None], (b, n, s))
    within = jnp.broadcast_to(suffix_mask(sizes), (b, n, n))
    return Context(
        cache,
        jnp.concatenate([seen_by_suffix, within], axis=-1),
        gemma.rotation(count[:, None] + jnp.arange(n), sizes.suffix.head_dim),
        None if weights.state is None else _affine(weights.state, inputs.state)[:, None],
    )


def velocity(weights: Weights, context: Context, x: Array, step: Step, plan: Plan) -> Array:
    """The flow's direction at x, float32 (b, horizon, action_dim)."""
    y = suffix(weights, context, x, step).astype(plan.dtype)
    for i, (layer, cache) in enumerate(zip(weights.suffix, context.cache, strict=True)):
        y = suffix_layer(layer, suffix_norms(weights, step, i), y, cache, context, plan.sizes.suffix)
    return direction(weights, normalise(final_norm(weights, step), y[:, -plan.sizes.action_horizon :]))


def suffix(weights: Weights, context: Context, x: Array, step: Step) -> Array:
    """Tokens (b, suffix tokens, d_1) float32 of noisy actions."""
    tokens = _affine(weights.action_in, x)
    if weights.action_mlp is not None and step.time_bias is not None:
        tokens = _affine(weights.action_mlp, jax.nn.swish(tokens + step.time_bias))
    return tokens if context.state is None else jnp.concatenate([context.state, tokens], axis=1)


def suffix_layer(
    layer: Layer, norms: tuple[Norm, Norm], y: Array, cache: tuple[Array, Array], context: Context, sizes: dims.Gemma
) -> Array:
    """Tokens (b, t, d_1) after one layer. cache: its keys and values of the prefix."""
    q, k, v = _heads(layer, normalise(norms[0], y), context.rotation, sizes)
    k, v = jnp.concatenate([cache[0], k], axis=1), jnp.concatenate([cache[1], v], axis=1)
    return _layer(layer, norms, y, _attend(q, k, v, "xla", mask=context.mask))


def suffix_norms(weights: Weights, step: Step, i: int) -> tuple[Norm, Norm]:
    """Those of layer i, of attention and of what follows it."""
    return _norms(weights.suffix[i]) if step.attn is None or step.ffn is None else (step.attn[i], step.ffn[i])


def final_norm(weights: Weights, step: Step) -> Norm:
    """That of the flow's last tokens."""
    return _known(weights.final_norm if step.final is None else step.final)


def direction(weights: Weights, y: Array) -> Array:
    """Normalised tokens of the actions as what they say, float32."""
    kernel, bias = weights.action_out
    return jnp.matmul(y, kernel, preferred_element_type=jnp.float32) + bias.astype(jnp.float32)


def _pack(x: Array, valid: Array) -> tuple[Array, Array]:
    """Tokens (b, s, d), the valid ones first and in their order; how many these are (b,)."""
    count = valid.sum(1)
    place = jnp.where(valid, jnp.cumsum(valid, axis=1) - 1, count[:, None] + jnp.cumsum(~valid, axis=1) - 1)
    index = jnp.arange(x.shape[1])
    order = jax.vmap(lambda place: jnp.zeros_like(index).at[place].set(index, unique_indices=True))(place)
    return jnp.take_along_axis(x, order[:, :, None], axis=1), count


def _vision_layer(layer: VisionLayer, x: Array, sizes: dims.Siglip, plan: Plan) -> Array:
    n, p, d = x.shape
    qkv = _affine(layer.qkv, _layer_norm(layer.norm_0, x)).reshape(n, p, 3, sizes.num_heads, -1)
    seen = _attend(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2], plan.vision_attention)
    x = x + _affine(layer.out, seen.reshape(n, p, d))
    hidden = jax.nn.gelu(_affine(layer.up, _layer_norm(layer.norm_1, x)), approximate=True)
    return x + _affine(layer.down, hidden)


def _heads(layer: Layer, y: Array, rotation: Rotation, sizes: dims.Gemma) -> tuple[Array, Array, Array]:
    """Rotated queries (b, t, n, h), rotated keys and values (b, t, k, h) of normalised tokens."""
    n, k = sizes.num_heads, sizes.num_kv_heads
    heads = (y @ layer.qkv).reshape(*y.shape[:2], n + 2 * k, sizes.head_dim)
    turned = _rotate(heads[:, :, : n + k], rotation)
    return turned[:, :, :n], turned[:, :, n:], heads[:, :, n + k :]


def _layer(layer: Layer, norms: tuple[Norm, Norm], x: Array, seen: Array) -> Array:
    """The rest of a layer, after its attention."""
    x = _add(x, seen.reshape(*x.shape[:2], -1) @ layer.out, norms[0])
    gate, up = jnp.split(normalise(norms[1], x) @ layer.gate_up, 2, axis=-1)
    return _add(x, (jax.nn.gelu(gate, approximate=True) * up) @ layer.down, norms[1])


def _attend(
    q: Array,
    k: Array,
    v: Array,
    implementation: Implementation,
    *,
    lengths: Array | None = None,
    mask: Array | None = None,
) -> Array:
    """lengths: (b,), how many keys, from the first, may be seen. mask: (b, t, s), which."""
    mask = None if mask is None else mask[:, None]
    return jax.nn.dot_product_attention(
        q, k, v, mask=mask, key_value_seq_lengths=lengths, implementation=implementation
    )


def _rotate(x: Array, rotation: Rotation) -> Array:
    sin, cos = rotation
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)


def _norms(layer: Layer) -> tuple[Norm, Norm]:
    return _known(layer.attn_norm), _known(layer.ffn_norm)


def _known(norm: Norm | None) -> Norm:
    assert norm is not None
    return norm


def normalise(norm: Norm, x: Array) -> Array:
    """RMS of the last axis in float32, scaled; back to the type of `x`."""
    wide = x.astype(jnp.float32)
    normed = wide * jax.lax.rsqrt(jnp.square(wide).mean(-1, keepdims=True) + gemma.EPSILON)
    scaled = normed * norm.scale + norm.shift if isinstance(norm, Modulation) else normed * norm
    return scaled.astype(x.dtype)


def _add(x: Array, y: Array, norm: Norm) -> Array:
    return x + y * norm.gate if isinstance(norm, Modulation) else x + y


def _layer_norm(norm: Affine, x: Array) -> Array:
    return siglip.layer_norm({"scale": norm.kernel, "bias": norm.bias}, x)


def _affine(affine: Affine, x: Array) -> Array:
    """Products of float32 are taken in full: by default a GPU rounds their factors to 10 bits."""
    full = jax.lax.Precision.HIGHEST if affine.kernel.dtype == jnp.float32 else None
    return jnp.matmul(x, affine.kernel, precision=full) + affine.bias
