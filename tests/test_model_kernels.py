"""The flow on its kernels, interpreted, against the same flow in XLA's words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from policy_server.config import load_config
from policy_server.model import choice, dims, fast, gemma, kernel_flow, kernels
from policy_server.model.fused import Weights, fuse
from policy_server.model.pi0 import suffix_mask
from policy_server.model.tree import nested
from policy_server.toy import CONFIG, toy_params

SMALL = dims.Pi0(
    type="pi0",
    siglip=dims.Siglip(width=12, depth=1, mlp_dim=20, num_heads=3, patch_size=56),
    prefix=dims.Gemma(width=16, depth=1, mlp_dim=24, num_heads=4, num_kv_heads=1, head_dim=128),
    suffix=dims.Gemma(width=128, depth=1, mlp_dim=512, num_heads=4, num_kv_heads=1, head_dim=128),
    action_dim=9,
    action_horizon=11,
    max_token_len=6,
    vocabulary=30,
)

QUICKLY = {"xla_backend_optimization_level": 0}
"""Compiler options: every program here runs once."""


def quick(function: Callable[..., Any], plan: fast.Plan) -> Callable[..., Any]:
    return jax.jit(partial(function, plan=plan), compiler_options=QUICKLY)


def flow_of(sizes: dims.Pi0) -> tuple[Weights, fast.Context, jax.Array, Any, fast.Plan]:
    """A batch of two in the midst of the flow: the second's prefix is so short that one share of its keys is hidden."""
    plan = fast.Plan(sizes, 2, "float32")
    rng = np.random.default_rng(1)
    weights = fuse(nested({path: jnp.asarray(leaf) for path, leaf in toy_params(sizes, 4).items()}), sizes, 2)

    def random(*shape: int) -> jax.Array:
        return jnp.asarray(rng.normal(size=(2, *shape)), jnp.float32)

    s, n, h = kernels.KEYS + 6, sizes.num_suffix_tokens, sizes.suffix.head_dim
    counts = np.array([[s - 2], [40]])
    seen = np.broadcast_to((np.arange(s) < counts)[:, None], (2, n, s))
    mask = np.concatenate([seen, np.broadcast_to(suffix_mask(sizes), (2, n, n))], axis=-1)
    context = fast.Context(
        [(random(s, 1, h), random(s, 1, h)) for _ in weights.suffix],
        jnp.asarray(mask),
        gemma.rotation(jnp.asarray(counts + np.arange(n)), h),
        None if sizes.pi05 else random(1, sizes.suffix.width),
    )
    x = random(sizes.action_horizon, sizes.action_dim)
    return weights, context, x, jax.tree.map(lambda rows: rows[1], weights.steps), plan


@pytest.mark.parametrize(("kind", "depth"), [pytest.param("pi0", 2, marks=pytest.mark.long), ("pi05", 1)])
def test_the_kernels_give_the_flow_s_direction(kind: Any, depth: int) -> None:
    experts = {name: replace(getattr(SMALL, name), depth=depth) for name in ("prefix", "suffix")}
    sizes = replace(SMALL, type=kind, **experts)
    assert kernel_flow.fits(sizes)
    weights, context, x, step, plan = flow_of(sizes)
    want = quick(fast.velocity, plan)(weights, context, x, step)
    got = quick(kernel_flow.velocity, plan)(weights, context, kernel_flow.share(context), x, step)
    assert np.abs(want).max() > 0.1
    np.testing.assert_allclose(got, want, atol=2e-4 * float(np.abs(want).max()))


def test_a_sum_of_parts_is_the_product() -> None:
    x, w = (jnp.asarray(np.random.default_rng(2).normal(size=shape), jnp.float32) for shape in ((64, 256), (256, 64)))
    parts = kernels.product(x, w, parts=2)
    assert parts.shape == (2, 64, 64)
    np.testing.assert_allclose(parts.sum(0), x @ w, atol=1e-4)
    np.testing.assert_allclose(kernels.product(x, w), x @ w, atol=1e-4)


def test_full_size_fits_and_a_toy_does_not() -> None:
    assert kernel_flow.fits(load_config("pi0_base").sizes.without_lora)
    assert kernel_flow.fits(load_config("pi05_base").sizes.without_lora)
    assert not kernel_flow.fits(replace(SMALL, suffix=replace(SMALL.suffix, width=96)))
    assert not kernel_flow.fits(replace(SMALL, suffix=replace(SMALL.suffix, num_kv_heads=2)))
    assert not kernel_flow.fits(replace(SMALL, action_horizon=kernels.ROWS))
    assert "width = 64" in CONFIG


class Gpu:
    """What a device must say to be asked for its kernels."""

    platform = "gpu"


def test_a_device_is_asked_before_it_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(choice.attention, "choose", lambda *_: "xla")

    def kernels_of(error: Any) -> bool:
        monkeypatch.setattr(kernel_flow, "error_of_a_layer", error)
        return choice.plan_for(SMALL, 10, "bfloat16", Gpu(), said.append).kernels  # type: ignore[arg-type]

    def refuse(*_: Any) -> float:
        raise RuntimeError("no such instruction\nand more")

    assert kernels_of(lambda *_: 0.004)
    assert said == []
    assert not kernels_of(lambda *_: 0.5)
    assert not kernels_of(lambda *_: float("nan"))
    assert not kernels_of(refuse)
    assert said == [
        "no kernels for the flow: their answer is 0.5 off",
        "no kernels for the flow: their answer is nan off",
        "no kernels for the flow: RuntimeError: no such instruction",
    ]


def test_a_cpu_takes_the_flow_that_runs_anywhere() -> None:
    said: list[str] = []
    assert choice.plan_for(SMALL, 10, "bfloat16", jax.devices("cpu")[0], said.append) == fast.Plan(
        SMALL, 10, "bfloat16"
    )
    assert said == []


@pytest.mark.long
def test_the_probe_of_a_layer_passes_where_the_kernels_are_right() -> None:
    assert kernel_flow.error_of_a_layer(SMALL, jax.devices("cpu")[0], QUICKLY) < 0.02
