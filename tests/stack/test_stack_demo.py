"""The whole system as `make demo` starts it: server, daemon, simulation with drawn pictures, operator's socket."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.stack

KEYS = {
    "task_success": bool,
    "episodes": int,
    "ticks": int,
    "missed_deadlines": int,
    "tick_lateness_us": {"p50", "p99", "p999", "max"},
    "stall_ticks": int,
    "inference_ms": {"p50", "p95", "p99"},
    "end_to_end_ms": {"p50", "p95", "p99"},
    "limit_violations": int,
    "host": dict,
}


def test_two_simulated_arms_put_a_lighter_into_a_cup(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "controller.demo", "--headless", "--latency-ms", "80", "--seed", "4"]
    ended = subprocess.run(
        [*command, "--runs-dir", str(tmp_path)], capture_output=True, text=True, timeout=110, cwd=tmp_path
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    latest = tmp_path / "latest"
    report = json.loads((latest / "report.json").read_text())
    for key, kind in KEYS.items():
        assert set(report[key]) >= kind if isinstance(kind, set) else isinstance(report[key], kind), key
    assert report["task_success"]
    assert report["stall_ticks"] == 0
    assert report["limit_violations"] == 0
    assert report["inference_ms"]["p50"] >= 75.0
    assert report["end_to_end_ms"]["p50"] > report["inference_ms"]["p50"]
    for name in ("plot.png", "video.mp4", "controller.toml"):
        assert (latest / name).stat().st_size > 0
