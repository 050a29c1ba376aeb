"""π0 and π0.5: tokens of an observation, the flow from noise to actions.

The readable form, on arrays whose paths equal the checkpoint's; what is served is `fast.py`, which must agree with
it. Time runs from 1 (noise) to 0 (actions), as in openpi and against the paper. Pictures, prompt and their positions
are computed once; the flow's steps see their keys and values. Linear maps outside the towers are float32.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from policy_server.model import dims, gemma, siglip

Params = dict[str, Any]

MIN_PERIOD, MAX_PERIOD = 4e-3, 4.0


class Inputs(NamedTuple):
    """One batch, as the transforms make it.

    images: uint8 (b, cameras, 224, 224, 3); for `fast.py` also what its `see` made of them. image_masks: bool
    (b, cameras). tokens: int32 (b, t). token_mask: bool (b, t). state: float32 (b, action_dim), normalised.
    """

    images: Array
    image_masks: Array
    tokens: Array
    token_mask: Array
    state: Array


class Prefix(NamedTuple):
    """What the flow needs of pictures and prompt: which tokens are valid (b, s), their keys and values."""

    mask: Array
    cache: gemma.Cache


def sample(
    params: Params, inputs: Inputs, noise: Array, sizes: dims.Pi0, *, num_steps: int, dtype: DTypeLike
) -> Array:
    """Actions (b, horizon, action_dim) float32, normalised, from noise of that shape, in equal Euler steps."""
    prefix = embed_prefix(params, inputs, sizes, dtype)
    x = noise
    for t in flow_times(num_steps):
        x = x - velocity(params, inputs.state, prefix, x, t, sizes, dtype) * np.float32(1 / num_steps)
    return x


def flow_times(num_steps: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The instants at which the flow is evaluated: 1 down to 1 / num_steps.

    Summed up in float32 as openpi does: the shortest period of the time embedding turns the sum's rounding (1e-7)
    into 1e-4 rad, which the actions show.
    """
    steps = np.full(num_steps, -1 / num_steps, np.float32)
    steps[0] = 1.0
    return np.cumsum(steps, dtype=np.float32)


def embed_prefix(params: Params, inputs: Inputs, sizes: dims.Pi0, dtype: DTypeLike) -> Prefix:
    """Run pictures and prompt through expert 0. Every valid token sees every other."""
    b, cameras = inputs.image_masks.shape
    paligemma = params["PaliGemma"]
    pictures = normalise_pixels(inputs.images).reshape(b * cameras, *inputs.images.shape[2:])
    seen = siglip.encode(paligemma["img"], pictures, sizes.siglip, dtype)
    prompt = gemma.embed(paligemma["llm"], inputs.tokens).astype(dtype)
    x = jnp.concatenate([seen.reshape(b, -1, sizes.prefix.width), prompt], axis=1)
    mask = prefix_mask(inputs, sizes)
    positions = jnp.cumsum(mask, axis=1) - 1
    _, cache = gemma.forward(paligemma["llm"], (x, None), positions, mask[:, None] & mask[:, :, None], sizes)
    return Prefix(mask, cache)


def prefix_mask(inputs: Inputs, sizes: dims.Pi0) -> Array:
    """Which prefix tokens count: (b, s). Those of an absent camera and the prompt's padding do not."""
    return jnp.concatenate(
        [jnp.repeat(inputs.image_masks, sizes.siglip.num_tokens, axis=1), inputs.token_mask], axis=1
    )


def velocity(
    params: Params, state: Array, prefix: Prefix, x: Array, t: float | np.float32, sizes: dims.Pi0, dtype: DTypeLike
) -> Array:
    """The flow's direction (b, horizon, action_dim) float32 at x and time t, from actions towards noise."""
    b = x.shape[0]
    suffix, condition = embed_suffix(params, state, x, t, sizes)
    n = suffix.shape[1]
    within = jnp.broadcast_to(suffix_mask(sizes), (b, n, n))
    mask = jnp.concatenate([jnp.broadcast_to(prefix.mask[:, None], (b, n, prefix.mask.shape[1])), within], axis=-1)
    positions = prefix.mask.sum(1, keepdims=True) + jnp.arange(n)
    (_, out), _ = gemma.forward(
        params["PaliGemma"]["llm"],
        (None, suffix.astype(dtype)),
        positions,
        mask,
        sizes,
        condition=condition,
        cache=prefix.cache,
    )
    assert out is not None
    return siglip.dense(params["action_out_proj"], out[:, -sizes.action_horizon :]).astype(jnp.float32)


def embed_suffix(
    params: Params, state: Array, x: Array, t: float | np.float32, sizes: dims.Pi0
) -> tuple[Array, Array | None]:
    """Tokens (b, suffix tokens, d_1) float32 of noisy actions, and the condition (b, d_1) of π0.5's norms."""
    b = x.shape[0]
    time = embed_time(jnp.full(b, t, jnp.float32), sizes.suffix.width)
    actions = siglip.dense(params["action_in_proj"], x)
    if sizes.pi05:
        hidden = jax.nn.swish(siglip.dense(params["time_mlp_in"], time))
        return actions, jax.nn.swish(siglip.dense(params["time_mlp_out"], hidden))
    both = jnp.concatenate([actions, jnp.broadcast_to(time[:, None], actions.shape)], axis=-1)
    hidden = jax.nn.swish(siglip.dense(params["action_time_mlp_in"], both))
    actions = siglip.dense(params["action_time_mlp_out"], hidden)
    return jnp.concatenate([siglip.dense(params["state_proj"], state)[:, None], actions], axis=1), None


def suffix_mask(sizes: dims.Pi0) -> Array:
    """Who sees whom in the suffix (t, s): actions see all, the state of π0 sees itself only."""
    state_tokens = sizes.num_suffix_tokens - sizes.action_horizon
    block = jnp.arange(sizes.num_suffix_tokens) >= state_tokens
    return block[None] <= block[:, None]


def embed_time(t: Array, width: int) -> Array:
    """Sine and cosine of times (b,) at `width` / 2 periods from 4e-3 to 4: float32 (b, width)."""
    period = MIN_PERIOD * (MAX_PERIOD / MIN_PERIOD) ** jnp.linspace(0.0, 1.0, width // 2)
    radians = t[:, None] * (1.0 / period * 2 * jnp.pi)
    return jnp.concatenate([jnp.sin(radians), jnp.cos(radians)], axis=-1)


def normalise_pixels(images: Array) -> Array:
    """uint8 as float32 in -1..1."""
    return images.astype(jnp.float32) / 255.0 * 2.0 - 1.0
