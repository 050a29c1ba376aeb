"""A loaded checkpoint as a policy: what it says of itself, its noise, real-time chunking, what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import golden_cases
import jax
import numpy as np
import pytest

import policy_server
from policy_server.checkpoint import CheckpointError
from policy_server.config import ConfigError, PolicyConfig, load_config, parse_config
from policy_server.model.rtc import target_of
from policy_server.pi0 import NonFiniteError, Pi0Policy, load_policy
from policy_server.policy import ObservationError
from policy_server.protocol import JPEG_IMAGES, RTC
from policy_server.statistics import StatisticsError
from policy_server.tokenizer import TokenizerError
from policy_server.toy import make_toy, staged_stats, write_toy_checkpoint

pytestmark = pytest.mark.usefixtures("compile_once")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy's configuration; its checkpoint lies beside it."""
    return make_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def policy(toy: Path) -> Pi0Policy:
    return load_policy(toy, toy.parent / "checkpoint", num_steps=4, seed=3)


def observation(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    cameras = ("cam_high", "cam_left_wrist", "cam_right_wrist")
    images = {name: rng.integers(0, 256, (3, 224, 224), dtype=np.uint8) for name in cameras}
    return {"state": staged_stats().state.mean, "images": images, "prompt": "pick it up", **changes}


def test_what_it_says_of_itself(policy: Pi0Policy) -> None:
    info = policy.info
    assert info.policy == "toy"
    assert info.cameras == ("cam_high", "cam_left_wrist", "cam_right_wrist")
    assert (info.image_size, info.action_horizon, info.action_dim) == ((224, 224), 50, 14)
    assert info.action_rate_hz == 30
    assert info.extensions == {RTC, JPEG_IMAGES}
    assert info.state_statistics is not None
    assert info.state_statistics.mean == tuple(staged_stats().state.mean[:14])
    assert len(info.state_statistics.std) == 14


def test_the_python_face(toy: Path) -> None:
    loaded = policy_server.load_policy(str(toy), str(toy.parent / "checkpoint"), dtype="float32", num_steps=1)
    reply = loaded.infer(observation())
    assert reply["actions"].shape == (50, 14)
    assert reply["actions"].dtype == np.float64
    timing = reply["policy_timing"]
    assert timing["infer_ms"] == pytest.approx(timing["transform_ms"] + timing["device_ms"], abs=0.1)


def test_every_session_draws_the_sequence_of_the_seed(policy: Pi0Policy) -> None:
    first, second = policy.new_session(), policy.new_session()
    chunks = [first.infer(observation())["actions"] for _ in range(2)]
    assert np.abs(chunks[0] - chunks[1]).max() > 1e-4, "new noise for every request"
    for chunk in chunks:
        np.testing.assert_array_equal(second.infer(observation())["actions"], chunk)


def test_given_noise_is_used_and_leaves_the_sequence_alone(toy: Path) -> None:
    checkpoint = toy.parent / "checkpoint"
    one, other = (load_policy(toy, checkpoint, num_steps=1, seed=8, rtc=False) for _ in range(2))
    noise = np.zeros((50, 32), np.float32)
    given = one.infer(observation(), noise=noise)["actions"]
    np.testing.assert_array_equal(one.infer(observation(), noise=noise[None])["actions"], given)
    np.testing.assert_array_equal(one.infer(observation())["actions"], other.infer(observation())["actions"])


@pytest.mark.parametrize(
    "noise", [np.zeros((50, 14)), np.zeros((2, 50, 32)), np.full((50, 32), np.nan), np.zeros((50, 32), int)]
)
def test_noise_of_the_wrong_kind_is_refused(policy: Pi0Policy, noise: np.ndarray) -> None:
    with pytest.raises(ObservationError, match=r"noise is .*; send \(50, 32\)"):
        policy.infer(observation(), noise=noise)


@pytest.mark.long
def test_the_rest_of_the_last_chunk_guides_in_the_model_s_units(policy: Pi0Policy) -> None:
    """The same as guiding the model by hand with what the statistics make of the rest."""
    rest = np.asarray(staged_stats().actions.mean) + np.linspace(0, 0.01, 40)[:, None]
    noise = np.random.default_rng(0).normal(size=(50, 32)).astype(np.float32)
    guided = policy.infer(observation(rtc={"actions": rest, "delay_steps": 6}), noise=noise)["actions"]
    plain = policy.infer(observation(), noise=noise)["actions"]
    assert np.abs(guided - plain).max() > 1e-3

    stats = staged_stats().actions
    model_rest = ((rest - stats.mean) / (stats.std + 1e-6)).astype(np.float32)
    inputs = policy.transforms.inputs(observation())
    raw = policy.programs.run(inputs, noise, target_of(model_rest, 6, 50, 32))
    np.testing.assert_allclose(guided, policy.transforms.outputs(raw, inputs), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("rtc", "message"),
    [
        (5, "'rtc' must be a map"),
        ({"actions": np.zeros((3, 14))}, "'rtc' must be a map"),
        ({"actions": np.zeros((3, 14)), "delay_steps": -1}, r"delay_steps' is -1, send a whole number in 0\.\.50"),
        ({"actions": np.zeros((3, 14)), "delay_steps": True}, "delay_steps' is True"),
        ({"actions": np.zeros((0, 14)), "delay_steps": 1}, r"has 0 steps, send what is left of an answer: 1\.\.50"),
        ({"actions": np.zeros((51, 14)), "delay_steps": 1}, "has 51 steps"),
        ({"actions": [[1.0], [1.0, 2.0]], "delay_steps": 1}, r"rtc\.actions"),
        ({"actions": np.full((3, 14), 1e12), "delay_steps": 1}, "1e\\+12 at step 0, joint 0"),
        ({"actions": np.zeros((3, 13)), "delay_steps": 1}, "13"),
        ({"actions": np.full((3, 14), np.inf), "delay_steps": 1}, "inf"),
    ],
)
def test_a_rest_that_cannot_be_followed_is_refused(policy: Pi0Policy, rtc: Any, message: str) -> None:
    with pytest.raises(ObservationError, match=message):
        policy.infer(observation(rtc=rtc))


def test_chunking_that_is_not_offered_is_refused(toy: Path) -> None:
    loaded = load_policy(toy, toy.parent / "checkpoint", num_steps=1, rtc=False)
    assert RTC not in loaded.info.extensions
    with pytest.raises(ObservationError, match="not offered"):
        loaded.infer(observation(rtc={"actions": np.zeros((3, 14)), "delay_steps": 1}))


def test_a_bad_observation_takes_no_noise(policy: Pi0Policy) -> None:
    session = policy.new_session()
    with pytest.raises(ObservationError):
        session.infer(observation(state=np.zeros(13)))
    np.testing.assert_array_equal(
        session.infer(observation())["actions"], policy.new_session().infer(observation())["actions"]
    )


@pytest.mark.long
def test_warm_up_compiles_everything(toy: Path) -> None:
    text = toy.read_text("utf-8").replace("[model]", "[model]\ntoken_buckets = [20]")
    config = parse_config(text, "toy", toy)
    loaded = load_policy(config, toy.parent / "checkpoint", num_steps=1)
    said: list[str] = []
    loaded.warm_up(said.append)
    shapes = [line.partition(" seconds=")[0] for line in said if line.startswith("compiled")]
    assert shapes == [f"compiled tokens={n} rtc={guided}" for guided in (False, True) for n in (20, 48)]
    assert said[-1].startswith("real-time chunking adds_ms=")
    compilations: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(lambda event, _duration, **_: compilations.append(event))
    short = loaded.infer(observation(prompt="pick"))
    loaded.infer(observation(prompt="p" * 40))
    loaded.infer(observation(rtc={"actions": short["actions"], "delay_steps": 2}))
    assert not [event for event in compilations if "compile" in event]


@pytest.mark.long
def test_a_bucket_gives_the_same_answer(toy: Path) -> None:
    text = toy.read_text("utf-8").replace("[model]", "[model]\ntoken_buckets = [20]")
    noise = np.random.default_rng(0).normal(size=(50, 32)).astype(np.float32)
    answers = [
        load_policy(config, toy.parent / "checkpoint", "float32", 2).infer(observation(), noise=noise)["actions"]
        for config in (parse_config(text, "toy", toy), toy)
    ]
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-6, rtol=0)


# ---- what cannot be loaded -------------------------------------------------------------------------


def test_a_checkpoint_of_another_model_is_refused(toy: Path) -> None:
    with pytest.raises(CheckpointError, match="does not fit the config"):
        load_policy(golden_cases.config("pi0_dummy_mini"), golden_cases.checkpoint("pi05_mini"))
    with pytest.raises(CheckpointError, match="39 of its leaves differ; the checkpoint is a π0, the config"):
        load_policy(golden_cases.config("pi05_mini"), golden_cases.checkpoint("pi0_lora_mini"))


def test_missing_statistics_are_refused(toy: Path, tmp_path: Path) -> None:
    shutil.copytree(toy.parent / "checkpoint", tmp_path / "step")
    shutil.rmtree(tmp_path / "step" / "assets")
    with pytest.raises(StatisticsError, match=r"norm_stats\.json"):
        load_policy(toy, tmp_path / "step")


def test_a_missing_tokenizer_is_refused(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENPI_DATA_HOME", str(tmp_path))
    text = toy.read_text("utf-8").replace('tokenizer = "tokenizer.model"\n', "")
    with pytest.raises(TokenizerError, match=r"paligemma_tokenizer\.model"):
        load_policy(parse_config(text, "toy", toy), toy.parent / "checkpoint")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"dtype": "float16"}, "dtype is 'float16'"), ({"num_steps": 0}, "num_steps is 0"), ({"num_steps": 101}, "101")],
)
def test_options_out_of_range_are_refused(toy: Path, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_policy(toy, toy.parent / "checkpoint", **options)


def test_an_unknown_config_is_refused(toy: Path) -> None:
    with pytest.raises(ConfigError, match="pi0_lighter_cup_trossen"):
        load_policy("pi0_unheard_of", toy.parent / "checkpoint")


def test_a_compile_cache_that_others_may_write_is_refused(toy: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(PermissionError, match="chmod go-w"):
        load_policy(toy, toy.parent / "checkpoint", compile_cache=tmp_path)


def test_numbers_that_are_not_finite_are_no_answer(toy: Path, tmp_path: Path) -> None:
    """Finite parameters can still overflow: the actions are looked at before anyone gets them."""
    config: PolicyConfig = parse_config(toy.read_text("utf-8"), "toy", toy)
    stats = staged_stats()
    write_toy_checkpoint(tmp_path, config.sizes, seed=0, stats=stats)
    loaded = load_policy(config, tmp_path, num_steps=1)
    with np.errstate(over="ignore"), pytest.raises(NonFiniteError, match="nothing was sent"):
        loaded.infer(observation(), noise=np.full((50, 32), 3e38, np.float32))


def test_statistics_in_another_convention_are_not_told(toy: Path) -> None:
    settings = load_config(toy)
    adapted = settings.model_copy(update={"data": settings.data.model_copy(update={"adapt_to_pi": True})})
    assert load_policy(adapted, toy.parent / "checkpoint", num_steps=1).info.state_statistics is None
