"""What a program is compiled for on a given device: measured once for each kind of choice, verified at every start."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Literal

import jax

from policy_server.model import attention, dims
from policy_server.model.fast import Plan


def plan_for(
    sizes: dims.Pi0,
    num_steps: int,
    dtype: Literal["bfloat16", "float32"],
    device: jax.Device,
    say: Callable[[str], None],
) -> Plan:
    """The plan of a model without adapters. The steps stay a loop: written out, they compile five times as long."""
    vision, prefix = sizes.siglip, sizes.prefix
    head_dim = vision.width // vision.num_heads
    return Plan(
        sizes,
        num_steps,
        dtype,
        attention.choose(device, dtype, vision.num_heads, vision.num_heads, head_dim, say),
        attention.choose(device, dtype, prefix.num_heads, prefix.num_kv_heads, prefix.head_dim, say),
        kernels=_has_kernels(sizes, dtype, device, say),
    )


def _has_kernels(sizes: dims.Pi0, dtype: str, device: jax.Device, say: Callable[[str], None]) -> bool:
    """Whether a GPU runs the flow's kernels, and rightly. A later JAX may have no compiler for them any more."""
    if device.platform != "gpu" or dtype != "bfloat16":
        return False
    try:
        flow = import_module("policy_server.model.kernel_flow")
        if not flow.fits(sizes):
            say("no kernels for the flow of a model of such sizes")
            return False
        error = flow.error_of_a_layer(sizes, device)
    except Exception as reason:  # each version of JAX and each GPU refuses others, with an exception of its own
        say(f"no kernels for the flow: {attention.first_line(reason)}")
        return False
    if not error <= attention.TOLERANCE:
        say(f"no kernels for the flow: their answer is {error:.3g} off")
        return False
    return True
