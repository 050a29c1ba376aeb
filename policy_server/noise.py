"""The noise that chunks are made from: the sequence that openpi's server would draw, one per client."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
from jax import Array
from numpy.typing import NDArray


class Noise:
    """Draws float32 chunks of `shape` from a key made of `seed`; equal seeds give equal sequences anywhere.

    Drawn on the CPU: the model's device gets it with the rest of the request.
    """

    def __init__(self, seed: int, shape: tuple[int, int]) -> None:
        self._shape = shape
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            self._key = jax.random.key(seed)

    def draw(self) -> NDArray[np.float32]:
        """The next chunk."""
        self._key, chunk = _draw(self._key, self._shape)
        return np.asarray(chunk)[0]


@partial(jax.jit, static_argnames="shape")
def _draw(key: Array, shape: tuple[int, int]) -> tuple[Array, Array]:
    key, used = jax.random.split(key)
    return key, jax.random.normal(used, (1, *shape))
