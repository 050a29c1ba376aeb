"""One model on one device: whole calls and the pieces of a call, timed.

Every time lies between two reads of the clock around a host copy or a block until ready, after warm runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ceilings import compiled
from timings import Timing

from policy_server import stages
from policy_server.continuation import soft_mask
from policy_server.model import fast, pi0, roofline, tree
from policy_server.model.dims import IMAGE_SIZE, Pi0
from policy_server.model.fused import Weights

EXECUTED, DELAY = 25, 5
"""Steps of the last chunk that were executed, and steps until the answer arrives, for real-time chunking."""


class Case(NamedTuple):
    """One shape of the whole call."""

    cameras: int
    batch: int
    guided: bool = False

    def __str__(self) -> str:
        return f"{self.cameras} cameras, batch {self.batch}{', RTC' if self.guided else ''}"


class Pieces:
    """Times a model of such a plan on `device`, whose `limits` make the roofline. `say` hears of every result."""

    def __init__(
        self,
        plan: fast.Plan,
        device: jax.Device,
        limits: roofline.Device,
        *,
        runs: int,
        warm_runs: int,
        say: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._device = device
        self._limits = limits
        self._runs = runs
        self._warm_runs = warm_runs
        self._say = say

    def whole(self, weights: Weights, case: Case, *, start: bool = False) -> Iterator[Timing]:
        """From uint8 pictures on the host to actions on the host; with `start`, how long the host is busy with that."""
        arguments, plan, device = self._arguments(case), self._plan, self._device
        started_s = time.monotonic()
        seeing = stages.compile_seeing(weights, plan, arguments[0].images, device)
        sampling = stages.compile_sampling(weights, plan, seeing, arguments, device)
        compile_s = time.monotonic() - started_s

        def begin() -> jax.Array:
            return stages.start(seeing, sampling, weights, arguments, device)

        if not np.isfinite(np.asarray(begin())).all():
            raise ArithmeticError(f"{case}: the actions are not finite; the times would mean nothing")
        whole = self._time(str(case), lambda: np.asarray(begin()))
        yield self._with_program(whole, sampling, compile_s, self._work(case))
        if start:
            pending: list[jax.Array] = []
            yield self._time(
                "host starts the call (within it)",
                lambda: pending.append(begin()),
                lambda: (jax.block_until_ready(pending), pending.clear()),
            )
            jax.block_until_ready(pending)

    def plain(self, params: dict[str, Any], case: Case) -> Timing:
        """The whole call on the readable path, jitted as one program."""
        plan, arguments = self._plan, self._arguments(case)
        function = partial(pi0.sample, sizes=plan.sizes, num_steps=plan.num_steps, dtype=plan.dtype)
        program, compile_s = compiled(function, params, *jax.device_put(arguments, self._device))
        timing = self._time(
            f"plain path, {case}", lambda: np.asarray(program(params, *jax.device_put(arguments, self._device)))
        )
        return self._with_program(timing, program, compile_s, self._work(case))

    def components(self, weights: Weights, case: Case) -> Iterator[Timing]:
        """Every piece of the plain call as a program of its own."""
        plan, work = self._plan, self._work(case)
        host = inputs, x = self._arguments(case)
        yield self._time(
            "pictures to device", lambda: jax.block_until_ready(jax.device_put(inputs.images, self._device))
        )
        inputs, x = jax.device_put(host, self._device)
        pictures = inputs.images.reshape(-1, *inputs.images.shape[2:])
        vision, prefix = partial(fast.vision, plan=plan), partial(fast.prefix, plan=plan)
        options = stages.SEEING if self._device.platform == "gpu" else None
        yield self._time_program("vision", work.vision, vision, weights.vision, pictures, options=options)
        seen = jax.jit(vision)(weights.vision, pictures)
        yield self._time_program("prefix", work.prefix, prefix, weights, seen, inputs)
        context = jax.jit(prefix)(weights, seen, inputs)

        towards = self._direction()

        def advance(weights: Weights, context: fast.Context, x: jax.Array, step: Any) -> jax.Array:
            return x - towards(weights, context, x, step) / plan.num_steps

        def flow(weights: Weights, context: fast.Context, x: jax.Array) -> jax.Array:
            return fast.flow(weights.steps, x, plan, lambda x, step: advance(weights, context, x, step))

        first = jax.tree.map(lambda rows: rows[0], weights.steps)
        yield self._time_program("one step", work.step, advance, weights, context, x, first)
        yield self._time_program(f"all {plan.num_steps} steps", work.steps, flow, weights, context, x)
        fresh = _Fresh(x)
        yield self._time("actions to host", fresh.read, fresh.renew)

    def _direction(self) -> Callable[..., jax.Array]:
        """The flow's, as the plan has it."""
        plan = self._plan
        if not plan.kernels:
            return partial(fast.velocity, plan=plan)
        from policy_server.model import kernel_flow

        return lambda weights, context, x, step: kernel_flow.velocity(
            weights, context, kernel_flow.share(context), x, step, plan
        )

    def _time(self, what: str, run: Callable[[], object], prepare: Callable[[], object] = lambda: None) -> Timing:
        """Time `run`, which waits for its own result. `prepare` comes before each run and does not count."""
        times_ns = []
        for _ in range(self._warm_runs + self._runs):
            prepare()
            started_ns = time.monotonic_ns()
            run()
            times_ns.append(time.monotonic_ns() - started_ns)
        times_ms = np.array(times_ns[self._warm_runs :]) / 1e6
        timing = Timing(what, self._runs, *np.percentile(times_ms, (50, 95, 99, 100)).tolist())
        self._say(f"{what}: p50 {timing.p50_ms:.3f} ms, max {timing.max_ms:.3f} ms")
        return timing

    def _time_program(
        self,
        what: str,
        work: roofline.Stage,
        function: Callable[..., Any],
        *arguments: Any,
        options: dict[str, Any] | None = None,
    ) -> Timing:
        """Time a function of arrays that already lie on the device."""
        program, compile_s = compiled(function, *arguments, options=options)
        timing = self._time(what, lambda: jax.block_until_ready(program(*arguments)))
        return self._with_program(timing, program, compile_s, work)

    def _with_program(
        self, timing: Timing, program: Any, compile_s: float, work: roofline.Stage | roofline.Call
    ) -> Timing:
        memory = program.memory_analysis()
        num_bytes = memory.argument_size_in_bytes + memory.temp_size_in_bytes + memory.output_size_in_bytes
        bound_ms = work.bound_s(self._limits) * 1e3
        return replace(timing, bound_ms=bound_ms, compile_s=compile_s, program_bytes=num_bytes)

    def _work(self, case: Case) -> roofline.Call:
        return work_of(self._plan.sizes, case, self._plan.num_steps, self._plan.dtype)

    def _arguments(self, case: Case) -> tuple[Any, ...]:
        """Random arguments of the whole call on the host; every camera is there and every prompt token counts."""
        b, sizes, rng = case.batch, self._plan.sizes, np.random.default_rng(0)
        inputs = pi0.Inputs(
            rng.integers(0, 256, (b, case.cameras, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8),
            np.ones((b, case.cameras), np.bool_),
            rng.integers(0, sizes.vocabulary, (b, sizes.max_token_len), np.int32),
            np.ones((b, sizes.max_token_len), np.bool_),
            rng.standard_normal((b, sizes.action_dim), np.float32),
        )
        noise, target = rng.standard_normal((2, b, sizes.action_horizon, sizes.action_dim), np.float32)
        if not case.guided:
            return inputs, noise
        num_left = max(sizes.action_horizon - EXECUTED, 1)
        importance = soft_mask(sizes.action_horizon, num_left, DELAY)[:, None]
        return inputs, noise, target, np.broadcast_to(importance, target.shape).copy()


class _Fresh:
    """An array that is new to the host each time: JAX keeps what it has copied once."""

    def __init__(self, x: jax.Array) -> None:
        self._copy = jax.jit(jnp.copy)
        self._x = x

    def renew(self) -> None:
        """Make it, and wait for it."""
        self._array = jax.block_until_ready(self._copy(self._x))

    def read(self) -> np.ndarray[Any, Any]:
        """Copy it to the host."""
        return np.asarray(self._array)


def work_of(sizes: Pi0, case: Case, num_steps: int, dtype: Any) -> roofline.Call:
    """What the roofline counts for one call."""
    return roofline.call(
        sizes,
        cameras=case.cameras,
        tokens=sizes.max_token_len,
        batch=case.batch,
        num_steps=num_steps,
        dtype=dtype,
        guided=case.guided,
    )


def random_params(sizes: Pi0, dtype: str) -> dict[str, Any]:
    """A tree of random parameters, made on the device, such that activations stay finite."""
    nested: dict[str, Any] = {}
    leaves = tree.expected_leaves(sizes)
    keys = jax.random.split(jax.random.key(0, impl="rbg"), len(leaves))
    for (path, shape), key in zip(leaves.items(), keys, strict=True):
        *branches, name = path.split("/")
        place = nested
        for branch in branches:
            place = place.setdefault(branch, {})
        is_factor = path.startswith("PaliGemma/img") and name == "scale"
        place[name] = _random(key, 1.0 if is_factor else 0.0, shape, dtype)
    return jax.block_until_ready(nested)


@partial(jax.jit, static_argnums=(2, 3))
def _random(key: jax.Array, centre: jax.Array, shape: tuple[int, ...], dtype: str) -> jax.Array:
    return centre.astype(dtype) + jax.random.uniform(key, shape, dtype, -0.035, 0.035)
