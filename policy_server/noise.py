"""The noise that chunks are made from: the sequence that openpi's server would draw, one per client."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
from jax import Array
from numpy.typing import NDArray


class Noise:
    """Draws float32 chunks of `shape` from a key made of `seed`; equal seeds give equal sequences anywhere.

    Drawn on the CPU, where JAX has it (JAX_PLATFORMS may leave it out): the model's device gets it with the rest of
    the request.
    """

    def __init__(self, seed: int, shape: tuple[int, int]) -> None:
        self._shape = shape
        try:
            device = jax.local_devices(backend="cpu")[0]
        except RuntimeError:
            device = jax.local_devices()[0]
        with jax.default_device(device):
            self._key = jax.device_put(jax.random.key(seed), device)  # put there, it stays there

    def draw(self) -> NDArray[np.float32]:
        """The next chunk."""
        self._key, chunk = _draw(self._key, self._shape)
        return np.asarray(chunk)[0]


@partial(jax.jit, static_argnames="shape")
def _draw(key: Array, shape: tuple[int, int]) -> tuple[Array, Array]:
    key, used = jax.random.split(key)
    return key, jax.random.normal(used, (1, *shape))
