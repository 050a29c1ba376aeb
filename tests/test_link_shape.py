"""The slow link: its arithmetic by hand, and that every byte comes through the proxy, in order."""

import hashlib
import socket
import threading

import numpy as np
import pytest

from bench.link_proxy import through
from bench.link_shape import GIGABIT, SEGMENT_B, Lane, Link


def lane(seed=0, **values):
    return Lane(Link("test", **({"rate_mbps": 8.0, "delay_s": 0.5} | values)), np.random.default_rng(seed))


def test_bytes_take_their_time_on_the_wire_and_the_delay():
    assert lane().arrival_s(10.0, 1_000_000) == pytest.approx(11.5)


def test_what_follows_waits_for_what_is_on_the_wire():
    slow = lane()
    slow.arrival_s(0.0, 1_000_000)
    assert slow.arrival_s(0.25, 1_000_000) == pytest.approx(2.5)


def test_after_a_pause_the_wire_is_free():
    slow = lane()
    slow.arrival_s(0.0, 1_000_000)
    assert slow.arrival_s(5.0, 1_000_000) == pytest.approx(6.5)


def test_a_lost_segment_stalls_the_stream_behind_it():
    lossy = lane(loss=0.5, stall_s=1.0, rate_mbps=1e9, delay_s=0.0)
    n = 1000
    arrivals = [lossy.arrival_s(0.0, SEGMENT_B) for _ in range(n)]
    assert arrivals == sorted(arrivals)
    steps = np.round(np.diff([0.0, *arrivals])).astype(int)
    assert set(steps) == {0, 1}
    assert steps.sum() == pytest.approx(n / 2, rel=0.1)


def test_jitter_comes_once_for_each_burst_and_never_reorders():
    one = lane(jitter_s=0.1, rate_mbps=8.0, delay_s=0.0)
    first = one.arrival_s(0.0, 1000)
    assert first > 0.001
    assert one.arrival_s(first - 0.0005, 1000) == pytest.approx(first + 0.001)


def test_the_same_seed_is_the_same_link():
    calls = [(0.1 * i, 3000) for i in range(200)]
    wild = {"jitter_s": 0.01, "loss": 0.1, "stall_s": 0.05}
    runs = [[one.arrival_s(*call) for call in calls] for one in (lane(1, **wild), lane(1, **wild), lane(2, **wild))]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize(
    "values",
    [{"rate_mbps": 0.0}, {"loss": 1.0}, {"delay_s": -1.0}, {"jitter_s": float("nan")}, {"stall_s": float("inf")}],
)
def test_a_link_over_which_nothing_would_arrive_is_refused(values):
    with pytest.raises(ValueError, match=f"{next(iter(values))}={next(iter(values.values())):g}"):
        lane(**values)


def test_every_byte_comes_through_in_order_and_the_end_too():
    sent = np.random.default_rng(0).bytes(3_000_000)
    with socket.create_server(("127.0.0.1", 0)) as server, through(GIGABIT, server.getsockname()[1]) as port:
        with socket.create_connection(("127.0.0.1", port)) as client:
            far, _ = server.accept()
            threading.Thread(
                target=lambda: (client.sendall(sent), client.shutdown(socket.SHUT_WR)), daemon=True
            ).start()
            came = hashlib.sha256()
            with far:
                while data := far.recv(65536):
                    came.update(data)
                far.sendall(b"done")
            assert client.recv(16) == b"done"
            assert client.recv(16) == b""
    assert came.digest() == hashlib.sha256(sent).digest()


def test_a_server_that_is_not_there_yet_costs_one_connection():
    with socket.create_server(("127.0.0.1", 0)) as server:
        target = server.getsockname()[1]
    with through(GIGABIT, target) as port:
        with socket.create_connection(("127.0.0.1", port)) as client:
            assert client.recv(16) == b""
        with socket.create_server(("127.0.0.1", target)) as server:
            with socket.create_connection(("127.0.0.1", port)) as client:
                far, _ = server.accept()
                with far:
                    far.sendall(b"here")
                assert client.recv(16) == b"here"
