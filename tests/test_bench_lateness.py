"""Histograms of lateness, and what ours is beside cyclictest's and peers'."""

import importlib

import pytest

from bench.control_loop import CYCLICTEST, bars_of
from bench.control_loop import OURS as OUR_LOOP
from bench.cost import one_more, total
from bench.lateness import BOUND_US, binned, cyclictest_row, lateness_row, quantile_us
from bench.peers import OURS
from bench.peers import bars_of as bars_of_peers
from bench.running import SCHEDULINGS, configuration
from bench.suite import BENCHES
from controller.config import load
from controller.config_camera import CAMERA_NAMES


def test_a_quantile_is_a_lateness_that_occurred():
    histogram = {7: 1, 50: 98, 900: 1}
    assert [quantile_us(histogram, fraction) for fraction in (0.01, 0.5, 0.99, 0.991, 1.0)] == [7, 50, 50, 900, 900]
    row = lateness_row(histogram, 913.5)
    assert row.pop("histogram") == [[8, 1], [54, 98], [1024, 1]]
    assert row == {"n": 100, "p50_us": 50, "p99_us": 50, "p999_us": 900, "max_us": 913.5}


def test_a_histogram_s_bins_are_quarter_octaves_and_hold_every_tick():
    bins = binned({0: 1, 1: 1, 2: 1, 1000: 2, 1024: 1, 1025: 1})
    assert bins == [[1, 2], [2, 1], [1024, 3], [1218, 1]]


def test_no_tick_has_no_lateness():
    with pytest.raises(ValueError, match="no tick was counted"):
        lateness_row({}, 0.0)


def test_cyclictest_s_ticks_beyond_its_histogram_count_as_late():
    thread = {"cycles": 100, "max": 81_000, "histogram": {"46": 90, "48": 8}}
    row = cyclictest_row({"thread": {"0": thread}})
    assert (row["n"], row["p50_us"], row["p99_us"], row["max_us"]) == (100, 46, BOUND_US, 81_000)


def lateness(load, program, p50_us, p99_us, scheduling="fifo"):
    return {"load": load, "scheduling": scheduling, "program": program, "p50_us": p50_us, "p99_us": p99_us}


def test_our_lateness_is_judged_beside_cyclictest_s_in_the_same_load():
    rows = [
        lateness("idle", OUR_LOOP, 90.0, 300.0),
        lateness("idle", CYCLICTEST, 60.0, 100.0),
        lateness("idle", OUR_LOOP, 9000.0, 9000.0, "normal"),
        lateness("load", OUR_LOOP, 10.0, 10.0),
    ]
    assert [(bar.value, bar.as_dict()["met"]) for bar in bars_of(rows)] == [(1.5, True), (3.0, False)]


def client(name, policy_ms, overhead_ms, stalls):
    return {"client": name, "policy_ms": policy_ms, "overhead_ms": overhead_ms, "stalls": stalls}


def test_our_overhead_is_judged_beside_each_peer_s_with_a_policy_that_answers_at_once():
    rows = [client(name, 40.0, 20.0, stalls) for name, stalls in ((OURS, 1), ("one", 9), ("other", 9))]
    rows += [client(OURS, 0.0, 8.0, 0), client("one", 0.0, 20.0, 9), client("other", 0.0, 13.3333333333, 9)]
    bars = [(bar.value, bar.as_dict()["met"]) for bar in bars_of_peers(rows)]
    assert bars == [(0.4, True), (pytest.approx(0.6), False), (1.0, False)]


def test_what_all_processes_cost_is_the_sum():
    one = {"cpu_percent": 3.0, "pss_mb": 40.0}
    assert total({"a": one, "b": one}) == {"cpu_percent": 6.0, "pss_mb": 80.0}


def test_what_a_camera_adds_is_the_slope_over_all_counts():
    totals = [{"cpu_percent": cpu, "pss_mb": 400.0 + 30.0 * i} for i, cpu in enumerate((90.0, 97.0, 102.0))]
    assert one_more((2, 3, 4), totals) == pytest.approx({"cpu_percent": 6.0, "pss_mb": 30.0})


@pytest.mark.parametrize("scheduling", SCHEDULINGS)
@pytest.mark.parametrize("cameras", [CAMERA_NAMES[:1], CAMERA_NAMES])
def test_the_daemon_that_is_measured_has_the_cameras_and_priorities_asked_for(tmp_path, scheduling, cameras):
    config = load(configuration(tmp_path, "ws://127.0.0.1:1", scheduling, cameras))
    assert tuple(config.cameras) == config.policy.cameras == cameras
    assert {(camera.kind, camera.width, camera.height, camera.rate_hz) for camera in config.cameras.values()} == {
        ("pattern", 640, 480, 30.0)
    }
    assert (config.realtime.motor_priority > 0) == (scheduling == "fifo")


@pytest.mark.parametrize("module", sorted({bench.arguments[1] for bench in BENCHES}))
def test_each_benchmark_of_the_suite_is_a_program(module):
    assert "main" in vars(importlib.import_module(module)) or "bench" in vars(importlib.import_module(module))
