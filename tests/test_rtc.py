"""Real-time chunking: the mask, the guidance, and what they do to a chunk."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_model_fast import QUICKLY, TINY, inputs_of, noise_of, params_of, served

from policy_server.continuation import soft_mask
from policy_server.model.fast import Plan, sample
from policy_server.model.fused import fuse
from policy_server.model.pi0 import flow_times
from policy_server.model.rtc import MAX_GUIDANCE, bent, guidance, sample_guided, target_of

SHAPE = (1, TINY.action_horizon, TINY.action_dim)


def guided(target: np.ndarray, importance: np.ndarray, num_steps: int = 5) -> np.ndarray:
    plan = Plan(TINY, num_steps, "float32")
    run = jax.jit(sample_guided, static_argnums=5, compiler_options=QUICKLY)
    weights = fuse(params_of(TINY), TINY, num_steps)
    return np.asarray(run(weights, inputs_of(TINY, 1, 1), noise_of(TINY, 1), target, importance, plan))


def test_the_mask_is_the_paper_s() -> None:
    mask = soft_mask(horizon=8, num_left=5, delay_steps=2)
    assert mask[:2].tolist() == [1, 1], "executed before the answer arrives"
    for i in (2, 3, 4):
        c = (5 - i) / (5 - 2 + 1)
        assert mask[i] == pytest.approx(c * (math.e**c - 1) / (math.e - 1))
    assert mask[5:].tolist() == [0, 0, 0], "the old chunk does not reach here"
    assert (np.diff(mask) <= 0).all()


@pytest.mark.parametrize(("num_left", "delay"), [(0, 0), (0, 3), (4, 0), (4, 4), (4, 7), (8, 8)])
def test_the_mask_at_its_bounds(num_left: int, delay: int) -> None:
    mask = soft_mask(8, num_left, delay)
    assert (mask[: min(delay, num_left)] == 1).all()
    assert (mask[num_left:] == 0).all()
    assert ((mask >= 0) & (mask <= 1)).all()


def test_guidance_in_the_paper_s_terms() -> None:
    """min(β, (1 - τ) / (τ · r²)) with r² = (1 - τ)² / (τ² + (1 - τ)²) and τ = 1 - t."""
    for t in (0.9, 0.5, 0.2, 0.05):
        tau = 1 - t
        r2 = (1 - tau) ** 2 / (tau**2 + (1 - tau) ** 2)
        assert float(guidance(jnp.float32(t))) == pytest.approx(min(MAX_GUIDANCE, (1 - tau) / (tau * r2)), rel=1e-4)
    assert float(guidance(jnp.float32(1.0))) == MAX_GUIDANCE


def test_nothing_to_follow_is_plain_sampling() -> None:
    target = np.full(SHAPE, 3.0, np.float32)
    plain = served(TINY, inputs_of(TINY, 1, 1), 5)
    np.testing.assert_allclose(guided(target, np.zeros(SHAPE, np.float32)), plain, atol=1e-5, rtol=0)


def test_a_flow_that_is_known_ends_where_it_should() -> None:
    """Chunks that are smooth (a Gaussian with known correlation) have an exact flow: the guided one must hold the
    steps that are given, and continue them as that correlation demands."""
    horizon, given, num_steps = 12, 4, 20
    steps = np.arange(horizon)
    covariance = np.exp(-((steps[:, None] - steps) ** 2) / 18) + 1e-3 * np.eye(horizon)
    wanted = 1.5
    importance, target = np.zeros(horizon, np.float32), np.full(horizon, wanted, np.float32)
    importance[:given] = 1
    inside = covariance[:given, :given]
    expected = covariance[:, :given] @ np.linalg.solve(inside, np.full(given, wanted))

    def direction(x: jax.Array, t: float) -> jax.Array:
        spread = t**2 * np.eye(horizon) + (1 - t) ** 2 * covariance
        whitened = jnp.linalg.solve(jnp.asarray(spread, jnp.float32), x)
        return t * whitened - (1 - t) * jnp.asarray(covariance, jnp.float32) @ whitened

    ends, plain_ends = [], []
    for seed in range(20):
        x = plain = jnp.asarray(np.random.default_rng(seed).normal(size=horizon), jnp.float32)
        for t in flow_times(num_steps):
            at_t = partial(direction, t=float(t))
            plain = plain - at_t(plain) / num_steps
            x = x - bent(at_t, x, jnp.float32(t), jnp.asarray(target), jnp.asarray(importance)) / num_steps
        ends.append(np.asarray(x))
        plain_ends.append(np.asarray(plain))
    off, plain_off = np.array(ends) - wanted, np.array(plain_ends) - wanted
    assert np.abs(off[:, :given]).mean() < 0.1 * np.abs(plain_off[:, :given]).mean(), "given steps are held"
    assert np.abs(np.mean(ends, axis=0) - expected)[given : given + 4].max() < 0.35, "and continued"
    assert np.std(ends, axis=0)[-1] > 3 * np.std(ends, axis=0)[0], "what is far away is free"


def test_one_step_of_the_flow_by_hand() -> None:
    """With one step t = 1: the destination is x - v(x), its pull-back a plain vector-Jacobian product."""
    rng = np.random.default_rng(0)
    target = rng.normal(size=SHAPE).astype(np.float32)
    importance = rng.uniform(size=SHAPE).astype(np.float32)
    inputs, noise = inputs_of(TINY, 1, 1), noise_of(TINY, 1)
    plan = Plan(TINY, 1, "float32")
    weights = fuse(params_of(TINY), TINY, 1)

    @partial(jax.jit, compiler_options=QUICKLY)
    def by_hand(x: jax.Array) -> jax.Array:
        reached, pull_back = jax.vjp(lambda x: sample(weights, inputs, x, plan), x)
        return reached + MAX_GUIDANCE * pull_back((target - reached) * importance)[0]

    want = by_hand(noise)
    np.testing.assert_allclose(guided(target, importance, 1), want, atol=1e-4, rtol=1e-4)


def test_padding_dimensions_are_not_guided() -> None:
    target, importance = target_of(np.ones((9, 14), np.float32), 1, TINY.action_horizon, TINY.action_dim)
    assert target.shape == importance.shape == SHAPE
    assert (importance[..., 14:] == 0).all()
    assert importance[0, 0, 0] == 1
    assert (target[0, :, :14] == 1).all(), "a rest longer than the horizon is cut"
