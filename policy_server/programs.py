"""The compiled programs of one model, and the way of one observation through them.

Runs in the policy server's worker thread. Every shape is known from the configuration: one program for the pictures,
one per prompt bucket, and one more each for guided sampling. Always holds: once `compile_all` has returned, nothing is
compiled again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from policy_server import stages
from policy_server.model.dims import IMAGE_SIZE
from policy_server.model.fast import Plan
from policy_server.model.fused import Weights
from policy_server.model.pi0 import Inputs
from policy_server.stages import Program
from policy_server.transforms import ModelInputs

Floats = NDArray[np.float32]

WARM_RUNS = 5
"""Runs of a fresh program before it is trusted with a robot: the first few of a GPU warm up and capture its graph."""


@dataclass(frozen=True, slots=True)
class _Shape:
    tokens: int
    guided: bool


class Programs:
    """Samples chunks of actions on one device.

    buckets: rising counts of prompt tokens, the last of which takes any prompt. cameras: pictures per observation.
    """

    def __init__(
        self, weights: Weights, plan: Plan, *, buckets: tuple[int, ...], cameras: int, guided: bool, device: jax.Device
    ) -> None:
        self._weights = weights
        self._plan = plan
        self._buckets = buckets
        self._cameras = cameras
        self._guided = guided
        self._device = device
        self._seeing: Program | None = None
        self._sampling: dict[_Shape, Program] = {}

    def compile_all(self, say: Callable[[str], None]) -> dict[bool, float]:
        """Compile and warm every program; the median run in ms of the largest, by whether it is guided."""
        medians_ms: dict[bool, float] = {}
        for shape in self._shapes():
            started_s = time.monotonic()
            self._programs(shape)
            compiled_s = time.monotonic()
            arguments = self._zeros(shape)
            runs_ms = [self._timed_ms(shape, arguments) for _ in range(WARM_RUNS)]
            medians_ms[shape.guided] = float(np.median(runs_ms[1:]))
            say(
                f"compiled tokens={shape.tokens} rtc={shape.guided} seconds={compiled_s - started_s:.1f} "
                f"run_ms={medians_ms[shape.guided]:.1f}"
            )
        return medians_ms

    def run(self, inputs: ModelInputs, noise: Floats, guide: tuple[Floats, Floats] | None = None) -> Floats:
        """Actions (horizon, action_dim), normalised, from noise of that shape; on the host when this returns.

        guide: target and importance of real-time chunking, (1, horizon, action_dim) each.
        """
        needed = int(inputs.token_mask.sum())
        tokens = next(bucket for bucket in self._buckets if bucket >= needed)
        prompt = inputs.tokens[:tokens], inputs.token_mask[:tokens]
        batch: list[Any] = [array[None] for array in (inputs.images, inputs.image_masks, *prompt, inputs.state)]
        return self._run(_Shape(tokens, guide is not None), (Inputs(*batch), noise[None], *(guide or ())))[0]

    def _shapes(self) -> Iterator[_Shape]:
        for guided in (False, True) if self._guided else (False,):
            for tokens in self._buckets:
                yield _Shape(tokens, guided)

    def _run(self, shape: _Shape, arguments: tuple[Any, ...]) -> Floats:
        return np.asarray(stages.start(*self._programs(shape), self._weights, arguments, self._device))

    def _programs(self, shape: _Shape) -> tuple[Program, Program]:
        if self._seeing is None:
            images = self._zeros(shape)[0].images
            self._seeing = stages.compile_seeing(self._weights, self._plan, images, self._device)
        if shape not in self._sampling:
            self._sampling[shape] = stages.compile_sampling(
                self._weights, self._plan, self._seeing, self._zeros(shape), self._device
            )
        return self._seeing, self._sampling[shape]

    def _zeros(self, shape: _Shape) -> tuple[Any, ...]:
        sizes = self._plan.sizes
        chunk = np.zeros((1, sizes.action_horizon, sizes.action_dim), np.float32)
        inputs: list[Any] = [
            np.zeros((1, self._cameras, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8),
            np.ones((1, self._cameras), np.bool_),
            np.zeros((1, shape.tokens), np.int32),
            np.ones((1, shape.tokens), np.bool_),
            np.zeros((1, sizes.action_dim), np.float32),
        ]
        return (Inputs(*inputs), chunk, *((chunk, chunk) if shape.guided else ()))

    def _timed_ms(self, shape: _Shape, arguments: tuple[Any, ...]) -> float:
        started_ns = time.monotonic_ns()
        self._run(shape, arguments)
        return (time.monotonic_ns() - started_ns) / 1e6
