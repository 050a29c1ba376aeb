"""`make demo ARGS="--policy pi0-toy"`: pictures go through a π0, and what it answers moves the arms."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from controller.config_robot import both_arms
from controller.demo.options import TOY_NOTE
from controller.demo.tasks import MOTION_S
from controller.recording import META, Recording, chunks_of
from controller.robots.base import GRIPPERS

pytestmark = pytest.mark.stack


@pytest.mark.long
def test_a_toy_model_moves_the_arms_and_claims_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "controller.demo", "--policy", "pi0-toy", "--headless", "--seed", "4"]
    ended = subprocess.run(
        [*command, "--runs-dir", str(tmp_path / "runs")],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=tmp_path,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.startswith(TOY_NOTE + "\n")
    latest = tmp_path / "runs" / "latest"
    report = json.loads((latest / "report.json").read_text())
    assert report["task_success"] is None
    assert report["note"] == TOY_NOTE
    assert report["duration_s"] >= MOTION_S
    assert report["stall_ticks"] == 0
    assert report["limit_violations"] == 0
    for name in ("plot.png", "video.mp4", "toy/toy.toml"):
        assert (latest / name).stat().st_size > 0

    runs = [run for meta in latest.glob(f"recordings/*/{META}") if (run := Recording.load(meta.parent)).is_run]
    assert len(runs) == 1
    assert len(chunks_of(runs[0])) >= 10
    q = runs[0].joints["q"]
    away = np.abs(q - both_arms(runs[0].config.robot.homing.pose))
    away[:, list(GRIPPERS)] = 0.0
    assert 0.05 < away.max() < 0.8, "it moves, and stays near the home pose"
