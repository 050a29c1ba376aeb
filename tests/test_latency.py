"""Latency percentiles from the motor process's notes."""

from collections import deque

import numpy as np
import pytest

from controller import layout
from controller.latency import KEPT, Latencies, summary

MS = 1_000_000


class FakeReader:
    def __init__(self, records):
        self.records = list(records)

    def next(self, out):
        if not self.records:
            return 0
        out[...] = self.records.pop(0)
        return 1


def handed(frame_ms, sent_ms, received_ms, handed_ms, inference_ms, exposure_ms=0):
    record = np.zeros((), layout.HANDED)
    record["t_exposure_oldest_ns"], record["t_frame_ns"] = exposure_ms * MS, frame_ms * MS
    record["t_sent_ns"], record["t_received_ns"] = sent_ms * MS, received_ms * MS
    record["t_handed_ns"], record["inference_ms"] = handed_ms * MS, inference_ms
    return record


def test_each_latency_is_between_its_two_instants():
    latencies = Latencies(FakeReader([handed(100, 103, 140, 146, 30.5, exposure_ms=95)]))
    latencies.drain()
    last = {name: values["last"] for name, values in latencies.status().items()}
    assert last == {"inference_ms": 30.5, "round_trip_ms": 37.0, "end_to_end_ms": 46.0, "observation_age_ms": 51.0}


def test_a_duration_that_the_server_did_not_tell_is_left_out():
    latencies = Latencies(FakeReader([handed(100, 103, 140, 146, np.nan)]))
    latencies.drain()
    assert latencies.status()["inference_ms"]["p50"] is None
    assert latencies.status()["round_trip_ms"]["last"] == 37.0


def test_percentiles_are_those_of_numpy():
    values = np.random.default_rng(0).gamma(2.0, 20.0, 250)
    found = summary(deque(values))
    for name, percent in (("p50", 50), ("p95", 95), ("p99", 99)):
        assert found[name] == pytest.approx(np.percentile(values, percent), abs=0.006)
    assert found["last"] == pytest.approx(values[-1], abs=0.006)


def test_without_values_there_is_no_number():
    assert summary(deque()) == {"p50": None, "p95": None, "p99": None, "last": None}


def test_only_the_newest_are_kept():
    slow = [handed(0, 0, 500, 500, 400.0)] * KEPT
    fast = [handed(0, 0, 50, 50, 40.0)] * KEPT
    latencies = Latencies(FakeReader(slow + fast))
    latencies.drain()
    assert latencies.status()["round_trip_ms"]["p99"] == 50.0
