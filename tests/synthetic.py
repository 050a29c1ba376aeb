"""Recordings made up for the tests of what reads them: two seconds of a run at known times and values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from controller import layout
from controller.config import Config, load, shipped
from controller.follower import Mode
from controller.npylog import NpyLog
from controller.recording import EVENTS, META, ROWS, Recording
from controller.states import State

T0_NS = 1_000_000_000_000
TICK_NS = 20_000_000
MOTOR_NS = 5_000_000
MOTION_ID = 7


def sim_config() -> Config:
    return load(shipped("sim"))


def ticks(lateness_ns: list[int]) -> np.ndarray:
    """One control tick per lateness, of the run MOTION_ID."""
    rows = np.zeros(len(lateness_ns), layout.TICK)
    rows["deadline_ns"] = T0_NS + TICK_NS * np.arange(len(rows))
    rows["t_ns"] = rows["deadline_ns"] + np.array(lateness_ns, dtype=np.int64)
    rows["state"], rows["motion_id"] = State.RUNNING.code, MOTION_ID
    return rows


def joints(count: int = 400) -> np.ndarray:
    """Motor ticks of a gentle sine of every arm joint about its home pose, well within all limits."""
    rows = np.zeros(count, layout.JOINTS)
    rows["t_ns"] = rows["t_command_ns"] = T0_NS + MOTOR_NS * np.arange(count)
    t_s = np.arange(count)[:, None] * MOTOR_NS * 1e-9
    pose = np.tile(sim_config().robot.homing.pose, 2)
    amplitude = np.tile([0.3] * 6 + [0.001], 2)
    rows["q_command"] = pose + amplitude * np.sin(2.0 * t_s)
    rows["q"] = pose + amplitude * np.sin(2.0 * (t_s - 0.03))
    rows["mode"], rows["motion_id"] = Mode.FOLLOW, MOTION_ID
    return rows


def handed(count: int = 10) -> np.ndarray:
    """Chunk i: exposed 0 ms, in memory 1 ms, ready 2 ms, asked 2.5 ms, sent 3 ms, back 33+i ms, spliced +0.2, planned
    +0.6, commanded +1.7, handed +2 ms; 1 ms in the queue, 25+i ms inferred, 27+i ms in the server."""
    rows = np.zeros(count, layout.HANDED)
    i, ms = np.arange(count), 1_000_000
    exposed = T0_NS + 100 * ms * i
    rows["chunk_id"], rows["motion_id"] = i + 1, MOTION_ID
    rows["t_exposure_oldest_ns"], rows["t_frame_ns"], rows["t_sent_ns"] = exposed, exposed + ms, exposed + 3 * ms
    rows["t_ready_ns"], rows["t_asked_ns"] = exposed + 2 * ms, exposed + 2_500_000
    rows["t_received_ns"] = exposed + (33 + i) * ms
    rows["t_spliced_ns"] = rows["t_received_ns"] + 200_000
    rows["t_planned_ns"], rows["t_command_ns"] = rows["t_received_ns"] + 600_000, rows["t_received_ns"] + 1_700_000
    rows["t_handed_ns"] = rows["t_received_ns"] + 2 * ms
    rows["queue_ms"], rows["inference_ms"], rows["server_ms"] = 1.0, 25.0 + i, 27.0 + i
    return rows


def chunks(count: int = 10, n_steps: int = 50) -> np.ndarray:
    """Chunk i: observed at T0 + 100 i ms, every action the command of `joints` at its instant."""
    rows = np.zeros(count, layout.CHUNK)
    rows["chunk_id"], rows["motion_id"], rows["n_steps"] = np.arange(count) + 1, MOTION_ID, n_steps
    rows["t_observation_ns"] = T0_NS + 100_000_000 * np.arange(count)
    rows["t_received_ns"], rows["action_rate_hz"] = rows["t_observation_ns"] + 33_000_000, 50.0
    command = joints(count * 20 + 4 * n_steps)["q_command"]
    for i in range(count):
        rows["actions"][i, :n_steps] = command[20 * i : 20 * i + 4 * n_steps : 4]
    return rows


def write_dump(
    folder: Path, code: str, after_s: float = 1.0, message: str = "as it happens", **rows: np.ndarray
) -> Path:
    """A fault's dump as the black box leaves it, so long after T0_NS."""
    directory = write_recording(folder / f"20260304T0506{round(after_s):02d}.000Z-{code}", **rows)
    t_ns = T0_NS + round(after_s * 1e9)
    fault = {
        "code": code, "message": message, "cause": "a cause", "next_step": "a step", "state_before": "running",
        "motion_id": MOTION_ID, "time": f"2026-03-04T05:06:{round(after_s):02d}.000+00:00", "t_ns": t_ns,
    }  # fmt: skip
    meta = json.loads((directory / META).read_text()) | {"kind": "fault", "fault": fault}
    (directory / META).write_text(json.dumps(meta))
    told = [{"t_ns": T0_NS, "kind": "state", "text": "running"}, {"t_ns": t_ns, "kind": "fault", "text": message}]
    (directory / EVENTS).write_text("".join(json.dumps(event) + "\n" for event in told))
    return directory


def write_recording(directory: Path, **rows: np.ndarray) -> Path:
    """A recording directory as the recorder leaves it; rows: of recording.ROWS, the others are empty."""
    directory.mkdir(parents=True)
    for name, dtype in ROWS.items():
        log = NpyLog(directory / f"{name}.npy", dtype)
        log.append(rows.get(name, np.zeros(0, dtype)).tobytes())
        log.close()
    (directory / EVENTS).write_text(json.dumps({"t_ns": T0_NS, "kind": "state", "text": "running"}) + "\n")
    meta = {
        "started_monotonic_ns": T0_NS,
        "motion_id": MOTION_ID,
        "kind": "run",
        "started": "2026-03-04T05:06:00.000+00:00",
        "prompt": "a test",
        "layout_version": layout.VERSION,
        "dropped": 0,
        "config": sim_config().model_dump(mode="json"),
    }
    (directory / META).write_text(json.dumps(meta))
    return directory


def recording(directory: Path, **rows: np.ndarray) -> Recording:
    return Recording.load(write_recording(directory, **rows))
