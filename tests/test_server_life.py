"""From the open port to the exit: warming up, being ready, stopping while a request is in work."""

from __future__ import annotations

import contextlib
import gc
import re
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator

import pytest
from server_rig import (
    HANDSHAKE,
    PATIENCE_S,
    STATE,
    EchoPolicy,
    ask,
    client,
    get,
    hosting,
    raw_client,
    scrape,
    serving,
    stock_client,
    until,
)
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.sync.client import connect

import policy_server.server
from policy_server.__main__ import main
from policy_server.policy import Policy, Session
from policy_server.protocol import ServerInfo, pack, unpack
from policy_server.queue import Place

pytestmark = pytest.mark.filterwarnings("ignore:connect.. must be used as a context:DeprecationWarning")


@pytest.fixture
def policy() -> EchoPolicy:
    return EchoPolicy()


def test_a_handshake_that_does_not_end_is_cut_off_as_soon_as_a_stop_can_wait_for_it(
    policy: EchoPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stop waits for handshakes; what an impatient server has cut off, the patient one still waits for."""
    monkeypatch.setattr(policy_server.server, "CLOSE_S", 2 * PATIENCE_S)
    with serving(policy) as patient, socket.create_connection(("127.0.0.1", patient)) as kept:
        kept.sendall(HANDSHAKE[:50])
        monkeypatch.setattr(policy_server.server, "CLOSE_S", 0.1)
        with serving(policy) as impatient, socket.create_connection(("127.0.0.1", impatient)) as cut_off:
            cut_off.settimeout(PATIENCE_S)
            cut_off.sendall(HANDSHAKE[:50])
            assert cut_off.recv(1) == b""
            kept.setblocking(False)
            with pytest.raises(BlockingIOError):
                kept.recv(1)


# ---- warming up ------------------------------------------------------------------------------------


def test_a_server_that_warms_up_is_alive_but_not_ready(policy: EchoPolicy) -> None:
    policy.warm.clear()
    with serving(policy) as port:
        assert get(port, "/healthz") == (200, b"OK\n")
        assert get(port, "/readyz") == (503, b"warming up\n")
        assert scrape(port)["pi0_server_ready"] == 0
        policy.warm.set()
        until(lambda: get(port, "/readyz") == (200, b"0 of 8 clients connected\n"))
        assert scrape(port)["pi0_server_ready"] == 1


def test_a_client_that_comes_early_gets_its_metadata_once_the_server_is_warm(policy: EchoPolicy) -> None:
    policy.warm.clear()
    with serving(policy) as port:
        with connect(f"ws://127.0.0.1:{port}", compression=None) as early:
            early.send(pack(STATE))
            until(lambda: scrape(port)["pi0_server_requests_total"] == 1)
            with pytest.raises(TimeoutError):
                early.recv(0)
            assert policy.seen == []
            policy.warm.set()
            assert unpack(early.recv(PATIENCE_S))["policy"] == "echo"
            assert unpack(early.recv(PATIENCE_S))["n"] == 1


def test_the_stock_client_waits_for_a_server_that_warms_up(policy: EchoPolicy) -> None:
    policy.warm.clear()
    with serving(policy) as port:
        waiting = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", STOCK_CLIENT, str(port)], stdout=subprocess.PIPE, text=True
        )
        with waiting:
            until(lambda: scrape(port)["pi0_server_clients"] == 1)
            policy.warm.set()
            output, _ = waiting.communicate(timeout=PATIENCE_S)
    assert output == "(50, 14)\n"


STOCK_CLIENT = textwrap.dedent("""
    import sys
    import numpy as np
    from openpi_client.websocket_client_policy import WebsocketClientPolicy
    print(WebsocketClientPolicy("127.0.0.1", int(sys.argv[1])).infer({"state": np.zeros(14)})["actions"].shape)
""")


def test_clients_that_leave_before_the_server_is_warm_give_their_places_back(policy: EchoPolicy) -> None:
    policy.warm.clear()
    with serving(policy, max_clients=2) as port:
        for _ in range(3):
            with raw_client(port), raw_client(port):
                until(lambda: scrape(port)["pi0_server_clients"] == 2)
            until(lambda: scrape(port)["pi0_server_clients"] == 0)
        policy.warm.set()


# ---- stopping --------------------------------------------------------------------------------------


def test_the_inference_in_work_is_answered_and_the_waiting_ones_are_not(policy: EchoPolicy) -> None:
    with hosting(policy) as hosted, client(hosted.port) as busy, client(hosted.port) as waiting:
        busy.send(pack({**STATE, "order": "wait"}))
        assert policy.busy.wait(PATIENCE_S)
        waiting.send(pack(STATE))
        busy.send(pack(STATE))
        until(lambda: scrape(hosted.port)["pi0_server_requests_total"] == 3)
        hosted.stop()
        until(lambda: get(hosted.port, "/readyz") == (503, b"stopping\n"))
        assert get(hosted.port, "/healthz") == (200, b"OK\n")
        with pytest.raises(InvalidStatus) as refused, client(hosted.port):
            pass
        assert refused.value.response.status_code == 503
        assert scrape(hosted.port)['pi0_server_connections_refused_total{reason="stopping"}'] == 1
        policy.go_on.set()
        assert unpack(busy.recv(PATIENCE_S))["n"] == 1
        for connection in (busy, waiting):
            with pytest.raises(ConnectionClosedOK) as closed:
                connection.recv(PATIENCE_S)
            assert closed.value.rcvd.code == 1001
        hosted.thread.join(PATIENCE_S)
        assert not hosted.thread.is_alive()
    assert len(policy.seen) == 1


def test_a_policy_that_hangs_does_not_keep_the_listener(policy: EchoPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_server.server, "DRAIN_S", 0.2)
    with hosting(policy) as hosted, client(hosted.port) as connection:
        connection.send(pack({**STATE, "order": "wait"}))
        assert policy.busy.wait(PATIENCE_S)
        hosted.stop()
        with pytest.raises(ConnectionClosedOK) as closed:
            connection.recv(PATIENCE_S)
        assert closed.value.rcvd.code == 1001
        with pytest.raises(ConnectionRefusedError):
            until(lambda: socket.create_connection(("127.0.0.1", hosted.port)).close())
        policy.go_on.set()


def test_close_tells_whether_the_worker_came_to_its_end(policy: EchoPolicy) -> None:
    with hosting(policy) as hosted, client(hosted.port) as connection:
        connection.send(pack({**STATE, "order": "wait"}))
        assert policy.busy.wait(PATIENCE_S)
        assert not hosted.server.close(patience_s=0.05)
        policy.go_on.set()
        connection.recv(PATIENCE_S)


@pytest.mark.parametrize("end", ["close", "vanish", "fail", "early"])
def test_what_a_client_leaves_is_freed_without_the_collector(
    policy: EchoPolicy, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_server.server.log, "disabled", True)  # pytest keeps what is logged, frames and all

    def alive() -> int:
        return sum(issubclass(type(thing), Place | ServerConnection) for thing in gc.get_objects())

    gc.collect()
    before = alive()
    gc.disable()
    try:
        with hosting(policy) as hosted:
            for _ in range(5):
                if end == "early":
                    policy.warm.clear()
                    with raw_client(hosted.port):
                        pass
                    continue
                with client(hosted.port) as connection:
                    ask(connection, STATE)
                    if end == "fail":
                        connection.send(pack({"order": "fail"}))
                        assert "the model fell over" in str(connection.recv(PATIENCE_S))
                        with pytest.raises(ConnectionClosedError):
                            connection.recv(PATIENCE_S)
                    elif end == "vanish":
                        connection.socket.shutdown(socket.SHUT_RDWR)
            until(lambda: alive() == before)
            policy.warm.set()
    finally:
        gc.enable()


def test_clients_come_and_go_without_a_trace(policy: EchoPolicy) -> None:
    def polite(port: int) -> None:
        with client(port) as connection:
            ask(connection, STATE)

    def rude(port: int) -> None:
        with raw_client(port) as connection:
            connection.sendall(b"\x82\xff")  # half of a header

    def broken(port: int) -> None:
        with client(port) as connection:
            connection.send(b"\xc1")
            connection.recv(PATIENCE_S)

    visits: list[Callable[[int], None]] = [polite, rude, broken]
    with hosting(policy) as hosted:
        polite(hosted.port)
        until(lambda: scrape(hosted.port)["pi0_server_clients"] == 0)
        until(lambda: hosted.tasks() <= 2)  # the server's own, and a handshake that ends
        for visit in visits * 5:
            visit(hosted.port)
        until(lambda: scrape(hosted.port)["pi0_server_clients"] == 0)
        until(lambda: hosted.tasks() <= 2)


# ---- the command -----------------------------------------------------------------------------------

COMMAND = textwrap.dedent("""
    import sys, threading, time
    from pathlib import Path
    from policy_server import scripted, server, __main__
    from policy_server.policy import Policy, Session
    from policy_server.protocol import ServerInfo

    class Told(Policy, Session):
        info = ServerInfo(policy="told")

        def __init__(self, seed):
            self.order = sys.argv[1]
            self.gate = Path(sys.argv[2])

        def wait(self):
            print("busy", flush=True)
            while not self.gate.exists():
                time.sleep(0.01)

        def warm_up(self, say):
            say("compiling")
            if self.order == "warm-up fails":
                raise MemoryError("device is full")
            if self.order == "warm-up waits":
                self.wait()

        def new_session(self):
            return self

        def infer(self, observation):
            if self.order == "inference waits":
                self.wait()
            return {"actions": 7}

    scripted.ScriptedPolicy, server.DRAIN_S = Told, float(sys.argv[3])
    sys.exit(__main__.main(["serve", "--policy", "scripted", "--port", "0"]))
""")


@contextlib.contextmanager
def told(order: str, gate: object, drain_s: float = PATIENCE_S) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The command with a policy that waits until the file `gate` is there."""
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, order, str(gate), str(drain_s)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            found = re.match(r"listening on ws://127.0.0.1:(\d+) policy=told$", process.stdout.readline())
            assert found
            yield process, int(found[1])
        finally:
            process.kill()


def test_an_interrupt_that_an_import_would_swallow_ends_the_command() -> None:
    script = textwrap.dedent("""
        import contextlib, signal, sys
        from policy_server import __main__, scripted

        def importing(seed):
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            print("lost")
            sys.exit(3)

        scripted.ScriptedPolicy = importing
        sys.exit(__main__.main(["serve", "--policy", "scripted", "--port", "0"]))
    """)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN])
def test_the_command_leaves_its_caller_s_interrupts_as_they_were(handler: signal.Handlers) -> None:
    before = signal.signal(signal.SIGINT, handler)
    try:
        assert main(["serve", "--policy", "scripted", "--latency-ms", "-1"]) == 78
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_command_answers_what_is_in_work_before_it_ends(tmp_path, signum: signal.Signals) -> None:
    with told("inference waits", tmp_path / "gate") as (process, port), client(port) as connection:
        connection.send(pack(STATE))
        assert process.stdout.readline() == "busy\n"
        process.send_signal(signum)
        until(lambda: get(port, "/readyz") == (503, b"stopping\n"))
        (tmp_path / "gate").touch()
        assert unpack(connection.recv(PATIENCE_S))["actions"] == 7
        with pytest.raises(ConnectionClosedOK):
            connection.recv(PATIENCE_S)
        assert process.wait(PATIENCE_S) == 0


def test_the_command_ends_although_its_policy_hangs(tmp_path) -> None:
    with told("inference waits", tmp_path / "never", drain_s=0.5) as (process, port), client(port) as connection:
        connection.send(pack(STATE))
        assert process.stdout.readline() == "busy\n"
        process.terminate()
        assert process.wait(PATIENCE_S) == 1
        assert "the policy is still inferring" in process.stderr.read()


def test_the_command_ends_at_once_while_it_warms_up(tmp_path) -> None:
    with told("warm-up waits", tmp_path / "never") as (process, port):
        assert process.stdout.readline() == "busy\n"
        assert get(port, "/readyz") == (503, b"warming up\n")
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
        assert "the policy is still warming up" in process.stderr.read()


def test_the_command_fails_when_the_policy_cannot_warm_up(tmp_path) -> None:
    with told("warm-up fails", tmp_path / "never") as (process, _):
        assert process.wait(PATIENCE_S) == 1
        log = process.stderr.read()
    assert log.splitlines()[-1] == "pi0-policy-server: the policy cannot warm up: MemoryError: device is full"
    assert "event=warming text='compiling'" in log


def test_a_policy_needs_no_warm_up() -> None:
    class Plain(Policy, Session):
        info = ServerInfo(policy="plain")

        def new_session(self) -> Session:
            return self

        def infer(self, observation: dict[str, object]) -> dict[str, object]:
            return {"actions": 1}

    with serving(Plain()) as port, stock_client(port) as stock:
        assert stock.infer({})["actions"] == 1
        until(lambda: get(port, "/readyz")[0] == 200)
