"""The served model against the readable one, over sizes that the goldens do not have."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from policy_server.config import load_config, shipped_configs
from policy_server.model import attention, dims, pi0
from policy_server.model.fast import Plan, sample
from policy_server.model.fused import fuse
from policy_server.model.pi0 import Inputs
from policy_server.model.tree import expected_leaves, nested
from policy_server.toy import toy_params

TINY = dims.Pi0(
    type="pi0",
    siglip=dims.Siglip(width=12, depth=2, mlp_dim=20, num_heads=3, patch_size=56),
    prefix=dims.Gemma(width=16, depth=2, mlp_dim=24, num_heads=4, num_kv_heads=1, head_dim=8),
    suffix=dims.Gemma(width=12, depth=2, mlp_dim=16, num_heads=4, num_kv_heads=1, head_dim=8),
    action_dim=17,
    action_horizon=5,
    max_token_len=6,
    vocabulary=30,
)

QUICKLY = {"xla_backend_optimization_level": 0}
"""Compiler options: these tests compile many programs and run each once."""


def with_heads(num_kv_heads: int) -> dims.Pi0:
    prefix, suffix = (replace(expert, num_kv_heads=num_kv_heads) for expert in (TINY.prefix, TINY.suffix))
    return replace(TINY, prefix=prefix, suffix=suffix)


def params_of(sizes: dims.Pi0) -> dict[str, Any]:
    return nested({path: jnp.asarray(leaf) for path, leaf in toy_params(sizes, 3).items()})


def inputs_of(sizes: dims.Pi0, batch: int, cameras: int) -> Inputs:
    """Random inputs; with several cameras the second is absent from the first of the batch; prompts are padded."""
    rng = np.random.default_rng(5)
    masks = np.ones((batch, cameras), bool)
    masks[0, 1:2] = False
    valid = np.arange(sizes.max_token_len) < rng.integers(2, sizes.max_token_len, (batch, 1))
    return Inputs(
        images=jnp.asarray(rng.integers(0, 256, (batch, cameras, 224, 224, 3)), jnp.uint8),
        image_masks=jnp.asarray(masks),
        tokens=jnp.asarray(np.where(valid, rng.integers(0, sizes.vocabulary, valid.shape), 0), jnp.int32),
        token_mask=jnp.asarray(valid),
        state=jnp.asarray(rng.normal(size=(batch, sizes.action_dim)), jnp.float32),
    )


def noise_of(sizes: dims.Pi0, batch: int) -> jax.Array:
    shape = (batch, sizes.action_horizon, sizes.action_dim)
    return jnp.asarray(np.random.default_rng(6).normal(size=shape), jnp.float32)


def readable(sizes: dims.Pi0, inputs: Inputs, num_steps: int) -> np.ndarray:
    sample = partial(pi0.sample, sizes=sizes, num_steps=num_steps, dtype=jnp.float32)
    run = jax.jit(sample, compiler_options=QUICKLY)
    return np.asarray(run(params_of(sizes), inputs, noise_of(sizes, len(inputs.state))))


def served(sizes: dims.Pi0, inputs: Inputs, num_steps: int, *, unroll: bool = False) -> np.ndarray:
    plan = Plan(sizes, num_steps, "float32", unroll=unroll)
    weights = fuse(params_of(sizes), sizes, num_steps)
    run = jax.jit(sample, static_argnums=3, compiler_options=QUICKLY)
    return np.asarray(run(weights, inputs, noise_of(sizes, len(inputs.state)), plan))


@pytest.mark.parametrize(
    ("type_", "num_kv_heads", "num_steps"),
    [("pi0", 1, 1), ("pi0", 1, 3), ("pi0", 2, 3), ("pi0", 4, 3), ("pi05", 1, 3), ("pi05", 4, 1)],
)
def test_both_forms_agree(type_: Any, num_kv_heads: int, num_steps: int) -> None:
    """Keys shared by all heads, by groups, and (one fused leaf in the checkpoint) by none; an absent camera."""
    sizes = replace(with_heads(num_kv_heads), type=type_)
    inputs = inputs_of(sizes, 2, 3)
    want = readable(sizes, inputs, num_steps)
    assert want.std() > 0.1
    np.testing.assert_allclose(served(sizes, inputs, num_steps), want, atol=2e-5, rtol=0)


def test_written_out_steps_agree_with_the_loop() -> None:
    inputs = inputs_of(TINY, 1, 1)
    np.testing.assert_allclose(
        served(TINY, inputs, 4, unroll=True), served(TINY, inputs, 4, unroll=False), atol=1e-5, rtol=0
    )


def test_patches_that_leave_a_margin_of_the_picture() -> None:
    sizes = replace(TINY, siglip=replace(TINY.siglip, patch_size=60))
    inputs = inputs_of(sizes, 1, 2)
    np.testing.assert_allclose(served(sizes, inputs, 2), readable(sizes, inputs, 2), atol=2e-5, rtol=0)


def test_an_absent_camera_is_worth_as_much_as_none_at_all() -> None:
    """What the configuration proves absent is not computed; what a request lacks is masked: the same numbers."""
    inputs = inputs_of(TINY, 1, 2)
    without = inputs._replace(images=inputs.images[:, :1], image_masks=inputs.image_masks[:, :1])
    assert not inputs.image_masks[0, 1]
    np.testing.assert_allclose(served(TINY, inputs, 2), served(TINY, without, 2), atol=1e-5, rtol=0)


def test_padding_of_the_prompt_is_worth_nothing() -> None:
    inputs = inputs_of(TINY, 1, 1)
    n = int(inputs.token_mask.sum())
    assert n < TINY.max_token_len
    short = inputs._replace(tokens=inputs.tokens[:, :n], token_mask=inputs.token_mask[:, :n])
    np.testing.assert_allclose(served(TINY, inputs, 2), served(TINY, short, 2), atol=1e-5, rtol=0)


def test_fusing_leaves_the_device_one_copy() -> None:
    """Every large leaf is taken out of the tree once its fused form is there."""
    params = params_of(TINY)
    weights = fuse(params, TINY, 2)
    left = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert left < 0.2 * sum(leaf.size for leaf in jax.tree.leaves(weights))


SHIPPED = {(c.sizes.without_lora, len(c.data.cameras)) for c in map(load_config, shipped_configs())}
"""Many configurations are of one model."""


@pytest.mark.parametrize(("sizes", "cameras"), sorted(SHIPPED, key=str))
def test_shapes_of_every_shipped_model_at_full_size(sizes: dims.Pi0, cameras: int) -> None:
    leaves = {path: jax.ShapeDtypeStruct(shape, jnp.bfloat16) for path, shape in expected_leaves(sizes).items()}
    inputs = jax.eval_shape(lambda: inputs_of_full_size(sizes, cameras))
    noise = jax.ShapeDtypeStruct((1, 50, 32), jnp.float32)

    def run(params: Any, inputs: Inputs, noise: jax.Array) -> jax.Array:
        return sample(fuse(params, sizes, 10), inputs, noise, Plan(sizes, 10, "bfloat16"))

    actions = jax.eval_shape(run, nested(leaves), inputs, noise)
    assert (actions.shape, actions.dtype) == ((1, 50, 32), jnp.float32)


def inputs_of_full_size(sizes: dims.Pi0, cameras: int) -> Inputs:
    return Inputs(
        jnp.zeros((1, cameras, 224, 224, 3), jnp.uint8),
        jnp.ones((1, cameras), bool),
        jnp.zeros((1, sizes.max_token_len), jnp.int32),
        jnp.ones((1, sizes.max_token_len), bool),
        jnp.zeros((1, sizes.action_dim), jnp.float32),
    )


@pytest.mark.parametrize(
    ("reason", "told"),
    [(ValueError("no\nsuch\nheads"), "ValueError: no"), (NotImplementedError(), "NotImplementedError: ")],
)
def test_a_gpu_that_refuses_flash_attention_runs_the_other_and_says_why(
    monkeypatch: pytest.MonkeyPatch, reason: Exception, told: str
) -> None:
    def refuse(*_: object) -> float:
        raise reason

    said: list[str] = []
    monkeypatch.setattr(attention, "_difference", refuse)
    gpu = cast(jax.Device, SimpleNamespace(platform="gpu"))
    assert attention.choose(gpu, "bfloat16", 8, 1, 256, said.append) == "xla"
    assert said == [f"no flash attention for heads of 256: {told}"]


def test_a_cpu_takes_the_attention_that_runs_anywhere() -> None:
    said: list[str] = []
    assert attention.choose(jax.devices("cpu")[0], "bfloat16", 8, 1, 256, said.append) == "xla"
    assert said == []
