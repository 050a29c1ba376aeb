"""Merged adapters do what openpi's layers do with them, at a rank that alpha differs from."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from policy_server.model import dims, lora

FOLDER = Path(__file__).parent / "goldens" / "pi0" / "lora"
ATTN = "PaliGemma/llm/layers/attn"
MLP = "PaliGemma/llm/layers/mlp"


@pytest.fixture(scope="module")
def golden():
    with np.load(FOLDER / "lora.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def adapter():
    facts = json.loads((FOLDER / "lora.json").read_text())
    assert facts["alpha"] != facts["rank"]
    return dims.Lora(facts["rank"], facts["alpha"])


def merged(golden, adapter, part, path):
    return np.asarray(
        lora.merge(path, *(golden[f"{part}/params/{name}"] for name in ("w", "lora_a", "lora_b")), adapter)
    )


@pytest.mark.parametrize(
    ("part", "path", "equation"),
    [
        ("q", f"{ATTN}/q_einsum/w", "btd,ndh->btnh"),
        ("kv", f"{ATTN}/kv_einsum/w", "bsd,ckdh->cbskh"),
        ("out", f"{ATTN}/attn_vec_einsum/w", "btnh,nhd->btd"),
    ],
)
def test_an_attention_layer_answers_as_openpis(golden, adapter, part, path, equation):
    weight = merged(golden, adapter, part, path)
    assert weight.dtype == np.float32
    answer = np.einsum(equation, golden[f"{part}/x"], weight)
    np.testing.assert_allclose(answer, golden[f"{part}/y"], atol=1e-4, rtol=1e-5)


def test_a_feed_forward_layer_answers_as_openpis_which_ignores_alpha(golden, adapter):
    p = {name: golden[f"ffn/params/{name}"] for name in ("gating_einsum", "linear")}
    for name in p:
        a, b = (golden[f"ffn/params/{name}_lora_{x}"] for x in "ab")
        p[name] = lora.merge(f"{MLP}/{name}", p[name], a, b, adapter)
        louder = lora.merge(f"{MLP}/{name}", golden[f"ffn/params/{name}"], a, b, dims.Lora(adapter.rank, 1e6))
        assert (p[name] == louder).all()
    gate, up = (golden["ffn/x"] @ np.asarray(w) for w in p["gating_einsum"])
    gelu = 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
    np.testing.assert_allclose((gelu * up) @ np.asarray(p["linear"]), golden["ffn/y"], atol=2e-3, rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "path"),
    [
        ((4, 6, 5), f"{ATTN}/q_einsum_1/w"),
        ((2, 2, 6, 5), f"{ATTN}/kv_einsum/w"),
        ((3, 4, 6, 5), f"{ATTN}/qkv_einsum/w"),
        ((4, 5, 6), f"{ATTN}/attn_vec_einsum/w"),
        ((2, 6, 7), f"{MLP}_1/gating_einsum"),
        ((7, 6), f"{MLP}/linear"),
    ],
)
def test_stacked_layers_merge_as_each_alone(shape, path):
    rng = np.random.default_rng(5)
    draw = [rng.normal(size=s) for s in ((3, *shape), (3, *shape[:-1], 2), (3, *shape[:-2], 2, shape[-1]))]
    parts = [x.astype(np.float32) for x in draw]
    together = lora.merge(path, *parts, dims.Lora(2, 3.0))
    for layer in range(3):
        alone = lora.merge(path, *(x[layer] for x in parts), dims.Lora(2, 3.0))
        np.testing.assert_allclose(together[layer], alone, atol=1e-6)


def test_root_rank_scaling(golden):
    path = f"{ATTN}/q_einsum/w"
    once, root = (merged(golden, dims.Lora(4, 8.0, rslora), "q", path) for rslora in (False, True))
    weight = golden["q/params/w"]
    np.testing.assert_allclose(root - weight, 2 * (once - weight), atol=1e-5)


def test_half_precision_weights_are_merged_in_float32(golden, adapter):
    rounded = [jnp.asarray(golden[f"q/params/{n}"], jnp.bfloat16) for n in ("w", "lora_a", "lora_b")]
    answer = lora.merge(f"{ATTN}/q_einsum/w", *rounded, adapter)
    exact = [np.asarray(x, np.float64) for x in rounded]
    assert answer.dtype == jnp.float32
    np.testing.assert_allclose(answer, exact[0] + 2 * exact[1] @ exact[2], rtol=1e-5, atol=1e-5)


def test_weights_know_their_adapters():
    q, out, ffn_0, ffn_1 = (dims.Lora(rank, rank) for rank in (1, 2, 3, 4))
    prefix, suffix = dims.Gemma(8, 1, 8, 2, 1, 4, q, ffn_0), dims.Gemma(8, 1, 8, 2, 1, 4, out, ffn_1)
    model = dims.Pi0("pi0", dims.SIGLIP["mu/14"], prefix, suffix)
    found = {
        path: lora.adapter_for(path, model)
        for path in (
            f"{ATTN}/q_einsum/w",
            f"{ATTN}/attn_vec_einsum_1/w",
            f"{MLP}/linear",
            f"{MLP}_1/gating_einsum",
            "PaliGemma/llm/layers/pre_ffw_norm/scale",
            "PaliGemma/llm/embedder/input_embedding",
            "PaliGemma/img/head/kernel",
        )
    }
    assert list(found.values()) == [q, out, ffn_0, ffn_1, None, None, None]
    assert lora.adapters_of(f"{ATTN}/q_einsum/w") == (f"{ATTN}/q_einsum/lora_a", f"{ATTN}/q_einsum/lora_b")
    assert lora.adapters_of(f"{MLP}/linear") == (f"{MLP}/linear_lora_a", f"{MLP}/linear_lora_b")
    assert [lora.is_adapter(path) for path in (f"{MLP}/linear", *lora.adapters_of(f"{MLP}/linear"))] == [
        False,
        True,
        True,
    ]
