"""What /metrics tells, and that it tells no more the longer a server runs."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from server_rig import PATIENCE_S, STATE, EchoPolicy, EchoSession, ask, client, get, scrape, serving, until
from websockets.exceptions import ConnectionClosedError

from policy_server.metrics import ERRORS, REFUSALS, STAGES, Metrics
from policy_server.protocol import pack

TIMED = {"actions": np.zeros((1, 14)), "policy_timing": {"infer_ms": 9.0, "transform_ms": 2.0, "device_ms": 5.0}}


@pytest.fixture
def policy() -> EchoPolicy:
    return EchoPolicy()


@pytest.fixture
def port(policy: EchoPolicy) -> Iterator[int]:
    with serving(policy) as port:
        yield port
        policy.go_on.set()


def test_prometheus_can_read_it(port: int) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)) as connection:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        assert response.headers.get_all("Content-Type") == [response.headers["Content-Type"]]
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        families = {family.name: family for family in text_string_to_metric_families(response.read().decode())}
    assert {f"pi0_server_{stage}_seconds" for stage in STAGES} <= families.keys()
    assert {families[f"pi0_server_{stage}_seconds"].type for stage in STAGES} == {"histogram"}
    assert families["pi0_server_requests"].type == "counter"
    assert families["pi0_server_clients"].type == families["pi0_server_ready"].type == "gauge"
    assert "process_resident_memory_bytes" in families


def test_everything_is_there_before_it_happens(port: int) -> None:
    metrics = scrape(port)
    assert metrics["pi0_server_requests_total"] == metrics["pi0_server_superseded_total"] == 0
    assert [metrics[f'pi0_server_errors_total{{kind="{kind}"}}'] for kind in ERRORS] == [0, 0, 0]
    assert {metrics[f'pi0_server_connections_refused_total{{reason="{reason}"}}'] for reason in REFUSALS} == {0}


def test_stages_are_timed_in_seconds(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EchoSession, "infer", lambda self, observation: TIMED)
    with client(port) as connection:
        timing = [ask(connection, STATE)["server_timing"] for _ in range(3)]
        until(lambda: scrape(port)["pi0_server_total_seconds_count"] == 3)
        metrics = scrape(port)
        of_client = 'pi0_server_client_seconds_{}{{client="127.0.0.1",stage="{}"}}'
        for stage, expected_s in {
            "transform": 3 * 2e-3,
            "device": 3 * 5e-3,
            "infer": sum(t["infer_ms"] for t in timing) / 1e3,
            "queue": sum(t["queue_ms"] for t in timing) / 1e3,
            "total": sum(t["total_ms"] for t in timing) / 1e3,
        }.items():
            assert metrics[f"pi0_server_{stage}_seconds_sum"] == pytest.approx(expected_s)
            assert metrics[of_client.format("sum", stage)] == pytest.approx(expected_s)
            assert metrics[of_client.format("count", stage)] == 3
    assert metrics["pi0_server_requests_total"] == 3


def test_a_policy_that_does_not_time_itself_leaves_its_stages_empty(port: int) -> None:
    with client(port) as connection:
        ask(connection, STATE)
        until(lambda: scrape(port)["pi0_server_total_seconds_count"] == 1)
        metrics = scrape(port)
    assert metrics["pi0_server_device_seconds_count"] == metrics["pi0_server_transform_seconds_count"] == 0


@pytest.mark.parametrize(
    ("message", "kind"), [(b"\xc1", "protocol"), (pack({}), "observation"), (pack({"order": "fail"}), "policy")]
)
def test_errors_are_counted_by_kind(port: int, message: bytes, kind: str) -> None:
    with client(port) as connection:
        connection.send(message)
        connection.recv(PATIENCE_S)
    assert {k: scrape(port)[f'pi0_server_errors_total{{kind="{k}"}}'] for k in ERRORS} == {
        k: float(k == kind) for k in ERRORS
    }


def test_clients_and_refusals_are_counted(policy: EchoPolicy) -> None:
    with serving(policy, max_clients=1) as port:
        until(lambda: scrape(port)["pi0_server_ready"] == 1)
        with client(port):
            assert scrape(port)["pi0_server_clients"] == 1
            assert scrape(port)["pi0_server_ready"] == 0
            with pytest.raises(ConnectionClosedError), client(port):
                pass
            assert scrape(port)['pi0_server_connections_refused_total{reason="full"}'] == 1
        until(lambda: scrape(port)["pi0_server_clients"] == 0)


def test_the_series_of_a_client_go_with_its_last_connection(port: int) -> None:
    def of_clients() -> bool:
        return b"127.0.0.1" in get(port, "/metrics")[1]

    with client(port) as one:
        with client(port) as other:
            ask(one, STATE)
            ask(other, STATE)
        until(lambda: scrape(port)["pi0_server_clients"] == 1)
        assert of_clients()
    until(lambda: scrape(port)["pi0_server_clients"] == 0)
    assert not of_clients()


def test_many_addresses_leave_nothing_behind() -> None:
    metrics = Metrics(lambda: 0, lambda: True)
    before = len(metrics.text().splitlines())
    for n in range(1000):
        with metrics.client(f"10.0.{n // 256}.{n % 256}"):
            metrics.answered(f"10.0.{n // 256}.{n % 256}", {f"{stage}_ms": 1.0 for stage in STAGES})
    assert len(metrics.text().splitlines()) == before


def test_each_server_has_figures_of_its_own(policy: EchoPolicy, port: int) -> None:
    with client(port) as connection:
        ask(connection, STATE)
    with serving(EchoPolicy()) as other:
        assert scrape(other)["pi0_server_requests_total"] == 0
    assert not [metric.name for metric in REGISTRY.collect() if metric.name.startswith("pi0_")]
