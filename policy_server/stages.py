"""One call of the model as two programs: the pictures are seen, then the chunk is sampled.

A GPU starts on the first while the host still hands over the second, hundreds of weights and a graph of a thousand
kernels: a millisecond that it would wait for a single program. All shapes of the call share the first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from policy_server.model import rtc
from policy_server.model.fast import Plan, sample, see
from policy_server.model.fused import Weights
from policy_server.model.pi0 import Inputs

Program = Callable[..., jax.Array]

SEEING = {"xla_gpu_enable_triton_gemm": False}
"""On a GPU. XLA's own products take in what lies between them; on an H200 the library's are a fifth faster even so."""


def compile_seeing(weights: Weights, plan: Plan, images: NDArray[np.uint8], device: jax.Device) -> Any:
    """The program that makes tokens of such pictures."""
    options = SEEING if device.platform == "gpu" else None
    return _compile(see, weights.vision, images, plan=plan, device=device, options=options)


def compile_sampling(weights: Weights, plan: Plan, seeing: Any, arguments: tuple[Any, ...], device: jax.Device) -> Any:
    """The program that makes actions of what `seeing` gives and the rest: Inputs, noise and perhaps what guides it."""
    inputs, *others = arguments
    inputs = inputs._replace(images=jax.tree.leaves(seeing.out_info)[0])
    guided = len(arguments) > 2
    return _compile(_sampling(plan, guided), weights, inputs, *others, plan=plan, device=device)


def start(
    seeing: Program, sampling: Program, weights: Weights, arguments: tuple[Any, ...], device: jax.Device
) -> jax.Array:
    """Begin a call on arguments that lie on the host. Returns at once; the actions arrive on the device."""
    inputs, *others = arguments
    seen = seeing(weights.vision, jax.device_put(inputs.images, device))
    masks, tokens, token_mask, state, *others = jax.device_put((*inputs[1:], *others), device)
    return sampling(weights, Inputs(seen, masks, tokens, token_mask, state), *others)


def _sampling(plan: Plan, guided: bool) -> Callable[..., jax.Array]:
    if guided:
        return rtc.sample_guided
    if not plan.kernels:
        return sample
    from policy_server.model import kernel_flow  # a later JAX may lack what it needs: then no plan asks for it

    return kernel_flow.sample


def _compile(
    function: Callable[..., jax.Array],
    *arguments: Any,
    plan: Plan,
    device: jax.Device,
    options: dict[str, Any] | None = None,
) -> Any:
    """Weights are on the device; of the others shapes and types count."""
    # Asked for bfloat16 as well, full precision might cost the fast kernels.
    precision = "highest" if plan.dtype == "float32" else None
    sharding = jax.sharding.SingleDeviceSharding(device)
    shapes = [jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), a) for a in arguments]
    with jax.default_matmul_precision(precision):
        return jax.jit(function, static_argnames="plan").lower(*shapes, plan=plan).compile(compiler_options=options)
