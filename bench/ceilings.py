"""What a device does at best, measured on it: the two constants of its roofline."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from policy_server.model.roofline import Device


def compiled(
    function: Callable[..., Any], *arguments: Any, options: dict[str, Any] | None = None
) -> tuple[Any, float]:
    """The program for such arguments, and the seconds its compilation took. options: of the compiler."""
    started_s = time.monotonic()
    program = jax.jit(function).lower(*arguments).compile(compiler_options=options)
    return program, time.monotonic() - started_s


def measure(device: jax.Device, dtype: str) -> Device:
    """A large square product in `dtype`, and a large array read and written; random numbers in both.

    A CPU multiplies in float32, whatever the model's type: not every CPU multiplies bfloat16.
    """
    on_cpu = device.platform == "cpu"
    kind = jnp.dtype("float32" if on_cpu else dtype)
    n, elements, repeats = (1024, 1 << 25, 4) if on_cpu else (8192, 1 << 30, 16)
    keys = jax.random.split(jax.random.key(0, impl="rbg"), 3)
    a, b = (jax.random.normal(key, (n, n), kind) / math.sqrt(n) for key in keys[:2])
    block = jax.random.uniform(keys[2], (elements,), kind)
    multiply_s = _shortest_s(lambda a, b: jax.lax.fori_loop(0, repeats, lambda _, b: a @ b, b), a, b)
    copy_s = _shortest_s(lambda x: jax.lax.fori_loop(0, repeats, lambda _, x: x + 1, x), block)
    return Device(
        flop_per_s=repeats * 2 * n**3 / multiply_s,
        bytes_per_s=repeats * 2 * block.nbytes / copy_s,
        source=f"a {kind} product and a large copy, measured in this run",
    )


def _shortest_s(function: Callable[..., Any], *arguments: Any) -> float:
    """The shortest of a few runs, after a warm one."""
    program, _ = compiled(function, *arguments)
    times_s = []
    for _ in range(6):
        started_s = time.monotonic()
        jax.block_until_ready(program(*arguments))
        times_s.append(time.monotonic() - started_s)
    return min(times_s[1:])
