"""The served path beside the readable one, on a toy and on this machine: the same answer, sooner?

The readable path is model/pi0.py, jitted: the reference's structure (a loop over stacked layers, projections apart,
time embedded in every step). For the full size, piece by piece, see policy_latency.py.

    python -m pytest bench/test_policy.py
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from ceilings import compiled
from pieces import random_params
from pytest_benchmark.fixture import BenchmarkFixture

from policy_server.config import parse_config
from policy_server.model import fast, pi0
from policy_server.model.fused import fuse
from policy_server.toy import CONFIG

ROUNDS = 100
WARM_UP = 5
STEPS = 10
SIZES = parse_config(CONFIG, "toy").sizes


@pytest.fixture(scope="module")
def params() -> dict[str, Any]:
    return random_params(SIZES, "float32")


@pytest.fixture(scope="module")
def arguments() -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    inputs = pi0.Inputs(
        rng.integers(0, 256, (1, 3, 224, 224, 3), np.uint8),
        np.ones((1, 3), np.bool_),
        rng.integers(0, SIZES.vocabulary, (1, SIZES.max_token_len), np.int32),
        np.ones((1, SIZES.max_token_len), np.bool_),
        rng.standard_normal((1, SIZES.action_dim), np.float32),
    )
    return inputs, rng.standard_normal((1, SIZES.action_horizon, SIZES.action_dim), np.float32)


@pytest.fixture(scope="module")
def answer(params: dict[str, Any], arguments: tuple[Any, ...]) -> np.ndarray[Any, Any]:
    return np.asarray(pi0.sample(params, *arguments, SIZES, num_steps=STEPS, dtype="float32"))


def test_served_path(
    benchmark: BenchmarkFixture, params: dict[str, Any], arguments: tuple[Any, ...], answer: np.ndarray[Any, Any]
) -> None:
    benchmark.extra_info.update(what="a toy π0 in float32, 3 cameras", path="served")
    weights = fuse(jax.tree.map(lambda leaf: leaf, params), SIZES, STEPS)
    program, _ = compiled(partial(fast.sample, plan=fast.Plan(SIZES, STEPS, "float32")), weights, *arguments)
    actions = benchmark.pedantic(
        lambda: np.asarray(program(weights, *jax.device_put(arguments))), rounds=ROUNDS, warmup_rounds=WARM_UP
    )
    np.testing.assert_allclose(actions, answer, atol=1e-4)


def test_readable_path(
    benchmark: BenchmarkFixture, params: dict[str, Any], arguments: tuple[Any, ...], answer: np.ndarray[Any, Any]
) -> None:
    benchmark.extra_info.update(what="a toy π0 in float32, 3 cameras", path="readable")
    function = partial(pi0.sample, sizes=SIZES, num_steps=STEPS, dtype="float32")
    program, _ = compiled(function, params, *arguments)
    actions = benchmark.pedantic(
        lambda: np.asarray(program(params, *jax.device_put(arguments))), rounds=ROUNDS, warmup_rounds=WARM_UP
    )
    np.testing.assert_allclose(actions, answer, atol=1e-4)
