"""The server as its clients see it: the stock openpi client, a websocket, a browser, a hostile peer."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from server_rig import (
    PATIENCE_S,
    STATE,
    EchoPolicy,
    EchoSession,
    ask,
    client,
    command,
    get,
    running,
    serving,
    stock_client,
)
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK
from websockets.sync.client import connect

from policy_server.latency import uniform_latency
from policy_server.protocol import Limits, ServerInfo, pack, unpack
from policy_server.server import ERROR_REASON

# The stock client calls connect() in a way that newer versions of websockets warn of.
pytestmark = pytest.mark.filterwarnings("ignore:connect.. must be used as a context:DeprecationWarning")


@pytest.fixture
def policy() -> EchoPolicy:
    return EchoPolicy()


@pytest.fixture
def port(policy: EchoPolicy) -> Iterator[int]:
    with serving(policy) as port:
        yield port
        policy.go_on.set()


# ---- the stock client ------------------------------------------------------------------------------


def test_the_stock_client_completes_requests(policy: EchoPolicy, port: int) -> None:
    picture = np.arange(3 * 224 * 224, dtype=np.uint8).reshape(3, 224, 224)
    with stock_client(port) as stock:
        first = stock.infer({**STATE, "images": {"cam_high": picture}, "prompt": "put it in"})
        second = stock.infer(STATE)
    np.testing.assert_array_equal(first["actions"], np.tile(STATE["state"], (50, 1)), strict=True)
    assert policy.seen[0]["prompt"] == "put it in"
    np.testing.assert_array_equal(policy.seen[0]["images"]["cam_high"], picture, strict=True)
    assert set(first["policy_timing"]) == {"infer_ms"}
    assert set(first["server_timing"]) == {"infer_ms", "queue_ms", "total_ms"}
    assert set(second["server_timing"]) == {"infer_ms", "queue_ms", "total_ms", "prev_total_ms"}
    assert all(value >= 0 for value in second["server_timing"].values())


def test_the_stock_client_gets_metadata(port: int) -> None:
    with stock_client(port) as stock:
        info = ServerInfo.from_metadata(stock.get_server_metadata())
    assert info.server is not None
    assert info.server.startswith("pi0-controller ")
    assert info.policy == "echo"
    assert info.cameras == ("cam_high",)
    assert info.extensions == {"environment_state", "request_id"}


def test_the_stock_client_gets_our_error_in_one_line(port: int) -> None:
    with stock_client(port) as stock:
        with pytest.raises(RuntimeError, match=r"ObservationError: observation has no 'state'; send 14 floats$"):
            stock.infer({"prompt": "x"})
        with pytest.raises(ConnectionClosedError) as closed:
            stock.infer(STATE)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1011, ERROR_REASON)


def test_a_recorded_request_of_the_reference_client_is_answered(policy: EchoPolicy, port: int) -> None:
    recorded = (Path(__file__).parent / "goldens" / "wire" / "capture_c2s_frame0.msgpack").read_bytes()
    with client(port) as connection:
        connection.send(recorded)
        assert unpack(connection.recv(PATIENCE_S))["actions"].shape == (50, 14)
    assert pack(policy.seen[0]) == recorded


def test_a_request_may_come_in_fragments(port: int) -> None:
    request = pack({**STATE, "images": {"cam_high": np.zeros((3, 224, 224), np.uint8)}})
    with client(port) as connection:
        connection.send(request[i : i + 1000] for i in range(0, len(request), 1000))
        assert unpack(connection.recv(PATIENCE_S))["n"] == 1


# ---- errors end one connection only ----------------------------------------------------------------


def test_tracebacks_are_sent_when_asked_for(policy: EchoPolicy) -> None:
    with serving(policy, send_tracebacks=True) as port, client(port) as connection:
        connection.send(pack({"order": "fail"}))
        text = connection.recv(PATIENCE_S)
    assert isinstance(text, str)
    assert text.startswith("Traceback (most recent call last)")
    assert "the model\nfell over" in text


def test_tracebacks_stay_in_the_log_otherwise(port: int, caplog: pytest.LogCaptureFixture) -> None:
    with client(port) as connection:
        connection.send(pack({"order": "fail"}))
        assert connection.recv(PATIENCE_S) == "RuntimeError: the model fell over"
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.exc_info is not None
    assert "fell over" in "".join(traceback.format_exception(record.exc_info[1]))


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (b"", "ProtocolError: message is not valid msgpack"),
        (b"\x91" * 1000, "ProtocolError"),
        (os.urandom(4096) + b"\xc1", "ProtocolError"),
        (pack([1, 2]), "ProtocolError: request is a list, not a map"),
        ("text", "ProtocolError: request is a text frame"),
        (pack({**STATE, "request_id": "7"}), "ProtocolError: request_id is '7', not an integer"),
        (pack({"order": "unsendable", **STATE}), "ProtocolError: cannot send a object"),
        (pack({"order": "exhaust"}), "RuntimeError: policy raised StopIteration"),
    ],
)
def test_a_bad_message_ends_its_connection_and_no_other(port: int, message: str | bytes, complaint: str) -> None:
    with client(port) as neighbour, client(port) as connection:
        connection.send(message)
        text = connection.recv(PATIENCE_S)
        assert isinstance(text, str)
        assert text.startswith(complaint)
        assert "\n" not in text
        with pytest.raises(ConnectionClosedError) as closed:
            connection.recv(PATIENCE_S)
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1011, ERROR_REASON)
        assert ask(neighbour, STATE)["n"] == 1


def test_an_error_text_that_is_not_unicode_is_escaped(policy: EchoPolicy, port: int) -> None:
    with client(port) as connection:
        connection.send(pack({"order": "refuse", "prompt": np.array("\ud800")}))
        assert connection.recv(PATIENCE_S) == r"ObservationError: cannot \ud800"


def test_an_oversized_message_ends_its_connection_and_no_other(policy: EchoPolicy) -> None:
    with serving(policy, limits=Limits(max_bytes=10_000)) as port:
        with client(port) as neighbour, client(port) as connection:
            connection.send(bytes(10_001))
            with pytest.raises(ConnectionClosed) as closed:
                connection.recv(PATIENCE_S)
            assert closed.value.rcvd.code == 1009
            assert ask(neighbour, STATE)["n"] == 1


def test_a_client_too_many_is_sent_away(policy: EchoPolicy) -> None:
    with serving(policy, max_clients=1) as port:
        with client(port) as first:
            assert get(port, "/readyz") == (503, b"1 of 1 clients connected\n")
            with pytest.raises(ConnectionClosedError, match="all 1 places are taken"), client(port):
                pass
            assert ask(first, STATE)["n"] == 1
        while get(port, "/readyz")[0] != 200:
            time.sleep(0.01)
        with client(port) as second:
            assert ask(second, STATE)["n"] == 1


# ---- sessions and ids ------------------------------------------------------------------------------


def test_each_connection_has_a_session_of_its_own(policy: EchoPolicy, port: int) -> None:
    with client(port) as one, client(port) as other:
        assert [ask(one, STATE)["n"], ask(one, STATE)["n"], ask(other, STATE)["n"]] == [1, 2, 1]
    assert len(policy.threads) == 1


def test_a_request_id_is_echoed_and_kept_from_the_policy(policy: EchoPolicy, port: int) -> None:
    with client(port) as connection:
        assert ask(connection, {**STATE, "request_id": 41})["request_id"] == 41
        assert "request_id" not in ask(connection, STATE)
    assert "request_id" not in policy.seen[0]


def test_a_policy_may_time_itself(port: int, policy: EchoPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    timed = {"actions": np.zeros((1, 14)), "policy_timing": {"infer_ms": 12.5, "tokens_ms": 1.0}}
    monkeypatch.setattr(EchoSession, "infer", lambda self, observation: timed)
    with client(port) as connection:
        assert ask(connection, STATE)["policy_timing"] == timed["policy_timing"]


# ---- a slow policy ---------------------------------------------------------------------------------


def test_health_and_new_clients_are_answered_during_an_inference(policy: EchoPolicy, port: int) -> None:
    with client(port) as connection:
        connection.send(pack({**STATE, "order": "wait"}))
        assert policy.busy.wait(PATIENCE_S)
        assert get(port, "/healthz") == (200, b"OK\n")
        assert get(port, "/readyz")[0] == 200
        assert connection.ping().wait(PATIENCE_S)
        with client(port):
            pass
        policy.go_on.set()
        assert unpack(connection.recv(PATIENCE_S))["n"] == 1


def test_a_client_may_leave_during_an_inference(policy: EchoPolicy, port: int) -> None:
    with client(port) as connection:
        connection.send(pack({**STATE, "order": "wait"}))
        assert policy.busy.wait(PATIENCE_S)
    policy.go_on.set()
    with client(port) as connection:
        assert ask(connection, STATE)["n"] == 1


def test_requests_of_two_clients_wait_for_each_other(policy: EchoPolicy, port: int) -> None:
    with client(port) as one, client(port) as other, ThreadPoolExecutor() as threads:
        slow = threads.submit(ask, one, {**STATE, "order": "wait"})
        assert policy.busy.wait(PATIENCE_S)
        quick = threads.submit(ask, other, STATE)
        time.sleep(0.05)
        assert not quick.done()
        policy.go_on.set()
        assert slow.result()["n"] == quick.result()["n"] == 1
        assert quick.result()["server_timing"]["queue_ms"] > quick.result()["server_timing"]["infer_ms"]


def test_open_connections_are_closed_going_away(policy: EchoPolicy) -> None:
    with contextlib.ExitStack() as stack:
        with serving(policy) as port:
            connection = stack.enter_context(client(port))
        with pytest.raises(ConnectionClosedOK) as closed:
            connection.recv(PATIENCE_S)
        assert closed.value.rcvd.code == 1001


# ---- plain http ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/healthz", "/health", "/healthz?from=probe"])
def test_health(port: int, path: str) -> None:
    assert get(port, path) == (200, b"OK\n")


@pytest.mark.parametrize("path", ["/", "/metrics/more", "/healthz/more"])
def test_other_plain_requests_must_upgrade(port: int, path: str) -> None:
    assert get(port, path)[0] == 426


def test_the_path_of_a_websocket_is_not_checked(port: int) -> None:
    with connect(f"ws://127.0.0.1:{port}/any/path?x=1", compression=None) as connection:
        assert unpack(connection.recv(PATIENCE_S))["policy"] == "echo"


def test_compression_is_not_accepted(port: int) -> None:
    with connect(f"ws://127.0.0.1:{port}", compression="deflate") as connection:
        assert connection.protocol.extensions == []


# ---- latency ---------------------------------------------------------------------------------------


def test_answers_take_at_least_the_latency(policy: EchoPolicy) -> None:
    with serving(policy, latency=lambda: 0.08) as port, client(port) as connection:
        t_ns = time.monotonic_ns()
        reply = ask(connection, STATE)
        assert time.monotonic_ns() - t_ns >= 80e6
        assert reply["server_timing"]["total_ms"] >= 80
        assert get(port, "/healthz")[0] == 200


def test_latency_is_uniform_and_repeatable() -> None:
    latency, same, other = (uniform_latency(0.1, 0.02, seed) for seed in (1, 1, 2))
    values = [latency() for _ in range(500)]
    assert values == [same() for _ in range(500)]
    assert values != [other() for _ in range(500)]
    assert 0.08 <= min(values) < 0.085
    assert 0.115 < max(values) <= 0.12


@pytest.mark.parametrize(
    ("mean_s", "jitter_s"),
    [(-0.1, 0), (0.1, -0.01), (0.1, 0.2), (float("nan"), 0), (0.1, float("nan")), (float("inf"), 0)],
)
def test_a_latency_that_cannot_be_is_refused(mean_s: float, jitter_s: float) -> None:
    with pytest.raises(ValueError, match="need 0 <= jitter <= latency"):
        uniform_latency(mean_s, jitter_s, None)


# ---- the command -----------------------------------------------------------------------------------


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_a_signal(signum: signal.Signals) -> None:
    with running() as (process, port), client(port) as connection:
        assert get(port, "/healthz") == (200, b"OK\n")
        process.send_signal(signum)
        with pytest.raises(ConnectionClosedOK) as closed:
            connection.recv(PATIENCE_S)
        assert closed.value.rcvd.code == 1001
        assert process.wait(PATIENCE_S) == 0
        log = process.stderr.read()
    assert all(re.match(r"time=\S+ level=INFO logger=", line) for line in log.splitlines()), log


def test_the_command_serves_the_stock_client_with_latency() -> None:
    upright = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    observation = {"state": np.zeros(14), "environment_state": np.array(upright + upright)}
    with running("--latency-ms", "60", "--latency-jitter-ms", "10", "--seed", "1") as (_, port):
        with stock_client(port) as stock:
            t_ns = time.monotonic_ns()
            reply = stock.infer(observation)
            assert time.monotonic_ns() - t_ns >= 50e6
    assert reply["actions"].shape == (50, 14)
    assert reply["actions"].dtype == np.float64


def test_the_command_warns_when_anyone_can_connect() -> None:
    with running("--host", "0.0.0.0", "--no-auth") as (process, _):
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
        assert "no authentication" in process.stderr.read()


def test_the_command_says_that_its_port_is_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with command("--port", str(port)) as process:
            output, log = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert output == ""
    assert log.splitlines() == [
        f"pi0-policy-server: port {port} on 127.0.0.1 is in use; stop what listens there or choose another --port"
    ]


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (["--port", "70000"], 2, "70000 is not in 0..65535"),
        (["--policy", "none"], 2, "invalid choice"),
        (["--latency-ms", "10", "--latency-jitter-ms", "20"], 78, "need 0 <= jitter <= latency"),
        (["--host", "192.0.2.1", "--no-auth"], 1, "cannot listen on 192.0.2.1:8000"),
        (["--host", "192.0.2.1"], 78, "lets other machines in: give --api-key-file FILE, or --no-auth"),
        (["--host", "no.such.host.invalid"], 1, "cannot listen on no.such.host.invalid:8000"),
        (["--api-key-file", "none", "--no-auth"], 78, "contradict each other"),
        (["--tls-cert", "none"], 78, "--tls-cert and --tls-key belong together"),
        (["--max-clients", "0"], 2, "0 is not in 1..1000"),
        (["--config", "pi0_base"], 2, "not allowed with argument --policy"),
        (["--checkpoint", "."], 78, "--checkpoint is for a model; give --config instead of --policy"),
        (["--no-compile-cache"], 78, "--compile-cache is for a model"),
    ],
)
def test_the_command_refuses_arguments_that_cannot_work(arguments: list[str], status: int, complaint: str) -> None:
    with command(*arguments) as process:
        _, log = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == status
    assert complaint in log


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_large_blocks_are_kept_in_the_heap() -> None:
    """Of 50 blocks of 1 MB (245 pages each), built and dropped, the pages of a few are faulted in."""
    script = (
        "import resource\n"
        "from policy_server.heap import keep_large_blocks\n"
        "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "assert keep_large_blocks()\n"
        "n = faults()\n"
        "for _ in range(50): bytes(1_000_000).swapcase()\n"
        "print(faults() - n)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 10 * 245
