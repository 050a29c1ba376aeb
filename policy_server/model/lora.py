"""Merging LoRA adapters into the weights they adapt, so that they cost nothing at run time.

Pure functions, used once when a checkpoint is loaded. Always computed in float32, whatever the inputs' type. The rules
are those that openpi's layers compute:

- attention, queries, keys and values: W + scaling · A·B, head by head;
- attention, output (`attn_vec_einsum`): openpi adds the heads up between A and B, so every head's A meets the *sum* of
  the heads' B;
- feed-forward: W + A·B; openpi never applies the scaling there.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from policy_server.model import dims

_SUFFIXES = ("lora_a", "lora_b")


def adapters_of(path: str) -> tuple[str, str]:
    """The paths of A and B of a weight: `q_einsum/w` has `q_einsum/lora_a`, `mlp/linear` has `mlp/linear_lora_a`."""
    stem = path.removesuffix("w") if path.endswith("/w") else f"{path}_"
    return stem + _SUFFIXES[0], stem + _SUFFIXES[1]


def is_adapter(path: str) -> bool:
    """Whether the leaf is an adapter, A or B."""
    return path.endswith(_SUFFIXES)


def adapter_for(path: str, model: dims.Pi0) -> dims.Lora | None:
    """The adapter that the model has on the weight at `path`; None where it has none."""
    module = path.split("/")[3:5] if path.startswith("PaliGemma/llm/layers/") else []
    if module[:1] == ["attn"]:
        return (model.suffix if module[1].endswith("_1") else model.prefix).attn_lora
    if module[:1] in (["mlp"], ["mlp_1"]):
        return (model.suffix if module[0] == "mlp_1" else model.prefix).ffn_lora
    return None


def merge(path: str, weight: jax.Array, a: jax.Array, b: jax.Array, lora: dims.Lora) -> jax.Array:
    """The float32 weight that does what `weight` with the adapters A and B did. `path` says which rule holds.

    weight: (..., in, out), a: (..., in, rank), b: (..., rank, out); any stacked axes lead, of attn_vec_einsum the
    last of them counts heads.
    """
    weight, a, b = (jnp.asarray(x, jnp.float32) for x in (weight, a, b))
    if "attn_vec_einsum" in path:
        b = b.sum(axis=-3, keepdims=True)
    delta = jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
    scaling = lora.scaling if "/attn/" in path else 1.0
    return weight + scaling * delta
