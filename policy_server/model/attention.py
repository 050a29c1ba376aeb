"""Which attention a device can run: flash attention through cuDNN where it gives the same answer, else XLA's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

Implementation = Literal["xla", "cudnn"]

TOLERANCE = 0.02
"""How far bfloat16 answers of order 1 may lie apart."""


def first_line(reason: Exception) -> str:
    """Of an exception's text, which may go on for pages or be empty, with its type."""
    return f"{type(reason).__name__}: {(str(reason).splitlines() or [''])[0]}"


def choose(
    device: jax.Device, dtype: str, heads: int, key_heads: int, head_dim: int, say: Callable[[str], None]
) -> Implementation:
    """"cudnn" if `device` is a GPU that runs it for such heads in bfloat16, and rightly; else "xla"."""
    if device.platform != "gpu" or dtype != "bfloat16":
        return "xla"
    try:
        error = _difference(device, heads, key_heads, head_dim)
    except Exception as reason:  # each version of cuDNN refuses other heads, each with an exception of its own
        say(f"no flash attention for heads of {head_dim}: {first_line(reason)}")
        return "xla"
    if not error <= TOLERANCE:
        say(f"no flash attention for heads of {head_dim}: its answer is {error:.3g} off")
        return "xla"
    return "cudnn"


def _difference(device: jax.Device, heads: int, key_heads: int, head_dim: int) -> float:
    """The largest difference between both on random tokens, the last of them padding."""
    rng = np.random.default_rng(0)
    tokens = 64
    q, k, v = (
        jax.device_put(jnp.asarray(rng.normal(size=(1, tokens, n, head_dim)), jnp.bfloat16), device)
        for n in (heads, key_heads, key_heads)
    )
    length = jax.device_put(np.array([tokens - 5], np.int32), device)
    answers = [
        np.asarray(jax.nn.dot_product_attention(q, k, v, key_value_seq_lengths=length, implementation=name), np.float32)
        for name in ("xla", "cudnn")
    ]
    return float(np.abs(answers[0] - answers[1]).max())
