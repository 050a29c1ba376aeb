"""What the server counts and times, for Prometheus.

Runs in the policy server, on its event loop; each server has a registry of its own. Always holds: labels take values
from fixed sets, but for `client`, the address of a client that is connected now; its series go when it goes.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    Summary,
    generate_latest,
)

STAGES = {
    "queue": "A request's arrival to its work begun",
    "transform": "Preparing the observation and finishing the actions, as the policy says",
    "device": "The model on its device, as the policy says",
    "infer": "The policy's whole work on an observation, with any latency made on purpose",
    "total": "A request's arrival to its reply ready",
}
ERRORS = ("protocol", "observation", "policy")
REFUSALS = ("origin", "unauthorized", "full", "stopping")

_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5)


class Metrics:
    """The figures of one server. n_clients, ready: read when the figures are asked for."""

    def __init__(self, n_clients: Callable[[], float], ready: Callable[[], bool]) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._stages = {
            stage: Histogram(f"pi0_server_{stage}_seconds", text, buckets=_BUCKETS_S, registry=registry)
            for stage, text in STAGES.items()
        }
        self.requests = Counter("pi0_server_requests", "Requests received", registry=registry)
        self.superseded = Counter(
            "pi0_server_superseded", "Requests replaced by a newer one of the same client", registry=registry
        )
        self._errors = Counter("pi0_server_errors", "Connections ended by an error", ["kind"], registry=registry)
        self._refused = Counter("pi0_server_connections_refused", "Connections refused", ["reason"], registry=registry)
        for kind in ERRORS:
            self._errors.labels(kind)
        for reason in REFUSALS:
            self._refused.labels(reason)
        Gauge("pi0_server_clients", "Clients connected", registry=registry).set_function(n_clients)
        Gauge("pi0_server_ready", "1 while /readyz says 200", registry=registry).set_function(ready)
        self._of_client = Summary(
            "pi0_server_client_seconds", "The same stages, of a client connected now", ["client", "stage"],
            registry=registry,
        )  # fmt: skip
        self._connections: Tally[str] = Tally()

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self._registry)

    def error(self, kind: str) -> None:
        """Count an error; `kind` is one of ERRORS."""
        self._errors.labels(kind).inc()

    def refused(self, reason: str) -> None:
        """Count a connection refused; `reason` is one of REFUSALS."""
        self._refused.labels(reason).inc()

    @contextmanager
    def client(self, address: str) -> Iterator[None]:
        """Hold the series of an address for as long as one of its connections lasts."""
        self._connections[address] += 1
        try:
            yield
        finally:
            self._connections[address] -= 1
            if not self._connections[address]:
                del self._connections[address]
                for stage in STAGES:
                    self._of_client.remove(address, stage)

    def answered(self, address: str, timing_ms: Mapping[str, Any]) -> None:
        """Take the stages that a reply tells of: `queue_ms`, `transform_ms` and so on, each in ms."""
        for stage, histogram in self._stages.items():
            if (duration_ms := timing_ms.get(f"{stage}_ms")) is not None:
                histogram.observe(duration_ms / 1e3)
                self._of_client.labels(address, stage).observe(duration_ms / 1e3)
