"""The readable model against the reference, piece by piece, in float32."""

from __future__ import annotations

from typing import Any

import golden_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from policy_server.checkpoint import load_params
from policy_server.model import gemma, pi0, siglip
from policy_server.noise import Noise
from policy_server.statistics import load_norm_stats
from policy_server.tokenizer import Tokenizer, find_tokenizer
from policy_server.transforms import Transforms

THINNED = 32
"""The goldens keep every 32nd prefix token."""


def test_time_embedding() -> None:
    golden = golden_cases.components()
    for width in (32, 64, 1024):
        got = pi0.embed_time(jnp.asarray(golden["posemb_sincos/t"]), width)
        np.testing.assert_allclose(got, golden[f"posemb_sincos/dim{width}"], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("x", "out", "tolerance"), [("x", "out_f32", 1e-5), ("x_hd256", "out_hd256_f32", 1e-4)])
def test_rotary_positions(x: str, out: str, tolerance: float) -> None:
    golden = golden_cases.components()
    tokens = jnp.asarray(golden[f"rope/{x}"])
    got = gemma.rotate(tokens, jnp.asarray(golden["rope/positions"][: len(tokens)]))
    np.testing.assert_allclose(got, golden[f"rope/{out}"], atol=tolerance, rtol=0)


def test_norms() -> None:
    golden = {key.removeprefix("rmsnorm/"): jnp.asarray(value) for key, value in golden_cases.components().items()}
    out, gate = gemma.rms_norm({"scale": golden["params/scale"]}, golden["x"])
    np.testing.assert_allclose(out, golden["out_f32_f32params"], atol=1e-6, rtol=0)
    assert gate is None
    dense = {"kernel": golden["params_ada/Dense_0/kernel"], "bias": golden["params_ada/Dense_0/bias"]}
    out, gate = gemma.rms_norm({"Dense_0": dense}, golden["x"], golden["cond"])
    np.testing.assert_allclose(out, golden["ada_out_f32_f32params"], atol=2e-6, rtol=0)
    np.testing.assert_allclose(gate, golden["ada_gate_f32_f32params"], atol=1e-6, rtol=0)


def test_the_suffix_sees_itself_in_blocks() -> None:
    config = golden_cases.config("pi0_dummy_mini").sizes
    mask = np.asarray(pi0.suffix_mask(config))
    assert mask[0].tolist() == [True] + [False] * 50, "the state sees itself only"
    assert mask[1:].all(), "actions see all"
    assert np.asarray(pi0.suffix_mask(golden_cases.config("pi05_mini").sizes)).all()


def test_flow_times_are_the_reference_s_to_the_bit() -> None:
    np.testing.assert_array_equal(pi0.flow_times(10), golden_cases.trace("pi05_mini")["times"], strict=True)
    assert pi0.flow_times(1).tolist() == [1.0]


def test_noise_is_the_reference_server_s_sequence() -> None:
    noise, again = Noise(0, (50, 32)), Noise(0, (50, 32))
    golden = golden_cases.components()["server_noise/noise"]
    for want in golden.reshape(-1, 50, 32):
        got = noise.draw()
        np.testing.assert_allclose(got, want, atol=1e-6, rtol=0)
        np.testing.assert_array_equal(again.draw(), got, strict=True)
    assert np.abs(Noise(1, (50, 32)).draw() - golden[0]).max() > 1


@pytest.mark.parametrize("name", ["pi0_dummy_mini", "pi0_lora_mini", "pi05_mini"])
def test_intermediate_values(name: str) -> None:
    """Observation 2, which lacks a wrist: tokens, positions, keys and values, the flow's first and last direction."""
    config, want = golden_cases.config(name), golden_cases.trace(name)
    sizes = config.sizes
    params = load_params(golden_cases.checkpoint(name), sizes, "float32")
    stats = load_norm_stats(golden_cases.checkpoint(name), config.data.asset_id)
    transforms = Transforms(config, stats, Tokenizer(find_tokenizer(config), sizes.vocabulary))
    inputs = golden_cases.batch(transforms.inputs(golden_cases.observation(2)))

    def close(got: Any, golden: np.ndarray[Any, Any], tolerance: float = 2e-5) -> None:
        np.testing.assert_allclose(got, golden, atol=tolerance, rtol=0)

    pictures = pi0.normalise_pixels(jnp.asarray(inputs.images[0]))
    seen = siglip.encode(params["PaliGemma"]["img"], pictures, sizes.siglip, jnp.float32)
    for tokens, slot in zip(seen, ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb"), strict=True):
        close(tokens[::THINNED], want[f"image_tokens/{slot}"][0])

    prefix = jax.jit(lambda: pi0.embed_prefix(params, inputs, sizes, jnp.float32))()
    np.testing.assert_array_equal(prefix.mask, want["prefix_mask"])
    valid = want["prefix_mask"][0, ::THINNED]
    for got, key in zip(prefix.cache, ("kv_cache/k", "kv_cache/v"), strict=True):
        close(got[:, :, ::THINNED][:, :, valid], want[key][:, :, valid])

    x = jnp.asarray(golden_cases.noise(2))[None]
    suffix, _ = pi0.embed_suffix(params, inputs.state, x, 1.0, sizes)
    close(suffix, want["step0/suffix_tokens"])
    v = pi0.velocity(params, inputs.state, prefix, x, 1.0, sizes, jnp.float32)
    close(v[0], want["v_t"][0])
