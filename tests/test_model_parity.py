"""The served model against the reference, end to end: every observation, every model, both types."""

from __future__ import annotations

import golden_cases
import numpy as np
import pytest

from policy_server.pi0 import Pi0Policy, load_policy
from policy_server.statistics import load_norm_stats

F32_MAX = 5e-5
BF16_MAX, BF16_MEAN = 0.06, 0.01
FURTHER = 1.5
"""How much further from float32 than the reference's own bfloat16 ours may be."""

pytestmark = pytest.mark.usefixtures("compile_once")

OBSERVATIONS = range(golden_cases.NUM_OBSERVATIONS)


@pytest.fixture(scope="module", params=golden_cases.POLICIES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def policy(name: str, request: pytest.FixtureRequest) -> Pi0Policy:
    return load_policy(golden_cases.config(name), golden_cases.checkpoint(name), dtype=request.param)


def raw(name: str, actions: np.ndarray) -> np.ndarray:
    """Actions in units of the model's output, the first 14 dimensions, up to an offset (which differences lose)."""
    golden = golden_cases.config(name)
    actions_stats = load_norm_stats(golden_cases.checkpoint(name), golden.data.asset_id).actions
    if golden.use_quantiles:
        assert actions_stats.q01 is not None
        assert actions_stats.q99 is not None
        scale = (actions_stats.q99 - actions_stats.q01 + 1e-6) / 2
    else:
        scale = actions_stats.std + 1e-6
    return actions / scale[:14]


@pytest.mark.parametrize("i", OBSERVATIONS)
def test_answers_are_the_reference_s(name: str, policy: Pi0Policy, i: int, request: pytest.FixtureRequest) -> None:
    reply = policy.infer(golden_cases.observation(i), noise=golden_cases.noise(i))
    actions = reply["actions"]
    assert (actions.shape, actions.dtype) == ((50, 14), np.float64)
    assert set(reply) == {"actions", "policy_timing"}
    precise = golden_cases.answer(name, "f32p", i)[1]
    if "float32" in request.node.name:
        assert np.abs(raw(name, actions - precise)).max() <= F32_MAX
        return
    rounded = golden_cases.answer(name, "bf16", i)[1]
    error = np.abs(raw(name, actions - rounded))
    assert error.max() <= BF16_MAX
    assert error.mean() <= BF16_MEAN
    ours, theirs = np.abs(raw(name, actions - precise)), np.abs(raw(name, rounded - precise))
    assert ours.max() <= FURTHER * theirs.max()
    assert ours.mean() <= FURTHER * theirs.mean()
