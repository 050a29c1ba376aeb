"""Models behind the port: the stock client, recorded requests, every shipped configuration, health while it infers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import golden_cases
import numpy as np
import pytest
from server_rig import ask, client, get, serving, stock_client
from test_policy_protocol import WIRE

from policy_server.config import PolicyConfig, load_config, parse_config, shipped_configs
from policy_server.model import dims
from policy_server.pi0 import load_policy
from policy_server.protocol import ServerInfo, unpack
from policy_server.statistics import save_norm_stats
from policy_server.toy import staged_stats, write_toy_checkpoint, write_toy_tokenizer

pytestmark = [
    pytest.mark.usefixtures("compile_once"),
    # The stock client calls connect() in a way that newer versions of websockets warn of.
    pytest.mark.filterwarnings("ignore:connect.. must be used as a context:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def golden_port() -> Iterator[int]:
    policy = load_policy(golden_cases.config("pi0_dummy_mini"), golden_cases.checkpoint("pi0_dummy_mini"), rtc=False)
    with serving(policy) as port:
        yield port


def test_a_recorded_session_gets_the_reference_s_answers(golden_port: int) -> None:
    """The bytes that openpi's client sent, and what openpi's server answered: equal noise, so equal actions."""
    request = (WIRE / "capture_c2s_frame0.msgpack").read_bytes()
    with client(golden_port) as connection:
        for reply_name in ("capture_s2c_frame1.msgpack", "capture_s2c_frame4.msgpack"):
            reference: Any = unpack((WIRE / reply_name).read_bytes())
            connection.send(request)
            reply: Any = unpack(connection.recv())
            assert reference.keys() <= reply.keys()
            assert reference["server_timing"].keys() <= reply["server_timing"].keys()
            assert reply["actions"].dtype == reference["actions"].dtype
            assert reply["actions"].shape == reference["actions"].shape
            np.testing.assert_allclose(reply["actions"], reference["actions"], atol=0.03, rtol=0)


def test_two_clients_get_the_answers_that_one_would(golden_port: int) -> None:
    observation = golden_cases.observation(3)
    with stock_client(golden_port) as alone:
        expected = [alone.infer(observation)["actions"] for _ in range(2)]
    with stock_client(golden_port) as one, stock_client(golden_port) as other:
        for want in expected:
            for stock in (one, other):
                np.testing.assert_array_equal(stock.infer(observation)["actions"], want)


def test_health_is_answered_while_the_model_infers(golden_port: int) -> None:
    """Ordering, not time: at least one check is answered between a request and its reply."""
    answered_during = 0
    done = threading.Event()
    with client(golden_port) as connection:

        def infer() -> None:
            for _ in range(3):
                ask(connection, golden_cases.observation(3))
            done.set()

        thread = threading.Thread(target=infer)
        thread.start()
        while not done.is_set():
            assert get(golden_port, "/healthz")[0] == 200
            answered_during += not done.is_set()
        thread.join()
    assert answered_during > 3, "more checks than requests: some were answered during an inference"


def shrunk(config: PolicyConfig, directory: Path) -> PolicyConfig:
    """The configuration with a model that a test can afford: its transforms and its kind are the shipped ones."""
    lora = ", lora = { rank = 2, alpha = 4 }" if config.sizes.prefix.attn_lora else ""
    heads = f"num_heads = 2, num_kv_heads = 1, head_dim = 8{lora}"
    text = f"""
        [model]
        type = "{config.model.type}"
        siglip = {{ width = 8, depth = 1, mlp_dim = 8, num_heads = 2, patch_size = 112 }}
        paligemma = {{ width = 8, depth = 1, mlp_dim = 8, {heads} }}
        action_expert = {{ width = 8, depth = 1, mlp_dim = 8, {heads} }}
        vocabulary = 128
        [data]
        action_rate_hz = 1.0
    """
    data = config.data.model_copy(update={"tokenizer": str(directory / "tokenizer.model")})
    return parse_config(text, config.name).model_copy(update={"data": data})


@pytest.fixture(scope="module")
def shrunken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[tuple[str, dims.Pi0], Path]]:
    directory = tmp_path_factory.mktemp("shrunken")
    write_toy_tokenizer(directory / "tokenizer.model")
    return directory, {}


QUICK = ("pi0_lighter_cup_trossen",)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.long) for name in shipped_configs()]
)
def test_the_stock_client_is_served_with_every_shipped_config(
    name: str, shrunken: tuple[Path, dict[tuple[str, dims.Pi0], Path]]
) -> None:
    directory, written = shrunken
    config = shrunk(load_config(name), directory)
    key = (config.data.asset_id, config.sizes)
    if key not in written:
        written[key] = directory / str(len(written))
        write_toy_checkpoint(written[key], config.sizes, seed=0, stats=staged_stats())
        save_norm_stats(written[key] / "assets" / config.data.asset_id / "norm_stats.json", staged_stats())
    policy = load_policy(config, written[key], num_steps=2, rtc=False)
    rng = np.random.default_rng(0)
    cameras = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")
    images = {camera: rng.integers(0, 256, (3, 480, 640), dtype=np.uint8) for camera in cameras}
    with serving(policy) as port, stock_client(port) as stock:
        info = ServerInfo.from_metadata(stock.get_server_metadata())
        reply = stock.infer({"state": staged_stats().state.mean, "images": images, "prompt": "pick it up"})
    assert info.policy == name
    assert info.action_rate_hz == load_config(name).data.action_rate_hz
    assert info.reset_pose == load_config(name).data.reset_pose
    assert (reply["actions"].shape, reply["actions"].dtype) == ((50, 14), np.float64)
    assert np.isfinite(reply["actions"]).all()
    assert set(reply) == {"actions", "policy_timing", "server_timing"}


def test_a_bad_observation_ends_one_connection_and_nothing_else(golden_port: int) -> None:
    with stock_client(golden_port) as stock:
        with pytest.raises(RuntimeError, match="13"):
            stock.infer({**golden_cases.observation(3), "state": np.zeros(13)})
    with stock_client(golden_port) as stock:
        assert stock.infer(golden_cases.observation(3))["actions"].shape == (50, 14)
