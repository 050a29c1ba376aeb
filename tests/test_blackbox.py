"""The seconds before a fault: kept whole, once per fault, whatever happens to the recorder and its disk."""

import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from board_rig import MS, Daemon

from controller import dumps
from controller.blackbox import AFTER_NS, BEFORE_NS, TAKEN_UP_NS
from controller.board import HISTORY_S, specs
from controller.recorder import Recorder
from controller.recording import Recording
from controller.states import State

IDLE, RUNNING, FAULT = (state.code for state in (State.IDLE, State.RUNNING, State.FAULT))
STEP_MS = 50


@pytest.fixture
def daemon(tmp_path):
    made = Daemon(tmp_path / "recordings")
    yield made
    made.owned.close()


def folder(daemon) -> Path:
    return Path(daemon.config.recorder.directory) / "faults"


def found(daemon) -> list[dumps.Dump]:
    return dumps.dumps(folder(daemon))


def live(daemon, recorder, begin_ms: int, end_ms: int, state: int, motion_id: int = 1) -> None:
    """Motor ticks and steps of the recorder, in turn."""
    for t_ms in range(begin_ms, end_ms, STEP_MS):
        daemon.write_joints(t_ms * MS, motion_id)
        recorder.step(t_ms * MS, state, motion_id)


def test_a_dump_holds_five_seconds_before_its_fault_and_the_braking(daemon):
    recorder = Recorder(daemon.child())
    daemon.event(1_000 * MS, "state", "long ago")
    daemon.write("chunk", t_received_ns=4_000 * MS, motion_id=1, chunk_id=8, n_steps=3)
    daemon.write("chunk", t_received_ns=6_000 * MS, motion_id=1, chunk_id=9, n_steps=3)
    daemon.write("handed", t_handed_ns=6_010 * MS, chunk_id=9)
    daemon.write("tick", t_ns=9_990 * MS, motion_id=1)
    live(daemon, recorder, 0, 10_000, RUNNING)
    daemon.fault(10_000 * MS, "tracking")
    live(daemon, recorder, 10_000, 10_700, FAULT)
    assert found(daemon) == [], "the arms still brake"
    live(daemon, recorder, 10_700, 12_000, FAULT)
    (dump,) = found(daemon)
    assert dump.directory.name == "20260304T050617.000Z-tracking"
    assert dump.fault["code"] == "tracking"
    assert dump.fault["message"] == "tracking: as it happens"
    assert dump.fault["cause"].startswith("a joint is too far")
    assert dump.fault["next_step"].endswith("then reset, home and run")
    assert (dump.fault["state_before"], dump.fault["motion_id"], dump.fault["t_ns"]) == ("running", 1, 10_000 * MS)
    made = Recording.load(dump.directory)
    assert (made.meta["kind"], made.motion_id, made.fault) == ("fault", 1, dump.fault)
    assert made.meta["prompt"] == "put the lighter into the cup"
    assert not made.is_run
    times_ns = made.joints["t_ns"]
    assert (times_ns[0], times_ns[-1]) == (10_000 * MS - BEFORE_NS, 10_000 * MS + AFTER_NS)
    assert (np.diff(times_ns) == STEP_MS * MS).all()
    assert made.ticks["t_ns"].tolist() == [9_990 * MS]
    assert made.chunks["chunk_id"].tolist() == made.handed["chunk_id"].tolist() == [9]
    assert [event["kind"] for event in made.events] == ["fault"]
    assert made.meta["rows"]["joints"] == len(times_ns)


def test_the_recording_of_the_motion_goes_on_beside_it(daemon):
    recorder = Recorder(daemon.child())
    live(daemon, recorder, 0, 1_000, RUNNING)
    daemon.fault(1_000 * MS)
    live(daemon, recorder, 1_000, 3_000, FAULT)
    assert len(found(daemon)) == 1
    (motion,) = Path(daemon.config.recorder.directory).glob("*-run-1")
    assert len(Recording.load(motion).joints) == 1_000 // STEP_MS + 500 // STEP_MS + 1


def test_a_fault_in_idle_is_dumped_too_also_when_motions_are_not_recorded(tmp_path):
    daemon = Daemon(tmp_path / "recordings", enabled=False)
    try:
        child = daemon.child()
        recorder = Recorder(child)
        live(daemon, recorder, 0, 500, RUNNING)
        assert not child.status["recording"]
        live(daemon, recorder, 500, 1_000, IDLE)
        daemon.fault(1_000 * MS, "motor_lost", state="idle")
        live(daemon, recorder, 1_000, 2_000, FAULT)
        (dump,) = found(daemon)
        assert dump.meta["prompt"] == ""
        assert [path.name for path in Path(daemon.config.recorder.directory).iterdir()] == ["faults"]
    finally:
        daemon.owned.close()


def test_two_faults_in_a_row_leave_two_dumps(daemon):
    recorder = Recorder(daemon.child())
    live(daemon, recorder, 0, 1_000, RUNNING)
    daemon.fault(1_000 * MS, "tracking")
    daemon.fault(1_030 * MS, "estop")
    live(daemon, recorder, 1_000, 3_000, FAULT)
    newest, first = found(daemon)
    assert (newest.fault["code"], first.fault["code"]) == ("estop", "tracking")
    told = [event["text"] for event in Recording.load(first.directory).events]
    assert told == ["tracking: as it happens", "estop: as it happens"]


def test_a_recorder_that_is_started_again_makes_up_for_the_dump_and_makes_none_twice(daemon):
    killed = Recorder(daemon.child())
    live(daemon, killed, 0, 2_000, IDLE)
    daemon.fault(2_000 * MS)
    for t_ms in range(2_000, 3_000, STEP_MS):
        daemon.write_joints(t_ms * MS, 1)
    part = folder(daemon) / "20260304T050609.000Z-tracking.part"
    part.mkdir(parents=True)
    (part / "meta.json").write_text("{")  # as a recorder leaves it that is killed while it writes
    live(daemon, Recorder(daemon.child()), 3_000, 3_500, FAULT)
    (dump,) = found(daemon)
    made = Recording.load(dump.directory)
    assert (made.joints["t_ns"][0], made.joints["t_ns"][-1]) == (0, 2_700 * MS)
    assert not part.exists()
    marked = dump.directory / "seen"
    marked.touch()
    live(daemon, Recorder(daemon.child()), 3_500, 5_000, FAULT)
    assert marked.exists()
    assert len(found(daemon)) == 1


def test_a_fault_of_long_ago_is_not_taken_up(daemon):
    daemon.fault(0)
    live(daemon, Recorder(daemon.child()), TAKEN_UP_NS // MS, TAKEN_UP_NS // MS + 2_000, FAULT)
    assert found(daemon) == []


def test_a_recorder_that_ends_writes_what_is_not_due_yet(daemon):
    recorder = Recorder(daemon.child())
    live(daemon, recorder, 0, 1_000, RUNNING)
    daemon.fault(1_000 * MS)
    recorder.close(1_001 * MS)
    assert len(found(daemon)) == 1


def test_a_late_recorder_still_has_it_whole(daemon):
    recorder = Recorder(daemon.child())
    live(daemon, recorder, 0, 5_000, RUNNING)
    daemon.fault(5_000 * MS)
    for t_ms in range(5_000, 10_000, 5):
        daemon.write_joints(t_ms * MS, 1)
    recorder.step(10_000 * MS, FAULT, 1)
    times_ns = Recording.load(found(daemon)[0].directory).joints["t_ns"]
    assert (times_ns[0], times_ns[-1]) == (0, 5_700 * MS)


@pytest.mark.parametrize(
    ("robot_hz", "camera_hz"), [(50.0, 30.0), (200.0, 30.0), (1000.0, 120.0)]
)  # fmt: skip
def test_every_ring_holds_six_seconds_at_any_rate(daemon, robot_hz, camera_hz):
    config = daemon.config
    cameras = {name: camera.model_copy(update={"rate_hz": camera_hz}) for name, camera in config.cameras.items()}
    robot = config.robot.model_copy(update={"rate_hz": robot_hz})
    slots = {s.name: s.slots for s in specs(config.model_copy(update={"robot": robot, "cameras": cameras}))}
    assert HISTORY_S == (BEFORE_NS + 1_000_000_000) * 1e-9
    assert slots["joints"] > 6 * robot_hz
    assert slots["chunk"] > 6 * camera_hz
    assert slots["handed"] > 6 * camera_hz
    assert slots["tick"] > 6 * (config.control.rate_hz + camera_hz)


def test_only_the_newest_dumps_are_kept_and_nothing_else_is_touched(tmp_path):
    daemon = Daemon(tmp_path / "recordings", kept_faults=2)
    try:
        root = folder(daemon)
        others = ["20200101T000000.000Z-tracking", "notes", "20200101T000000.000Z-run-7"]
        for name in others:  # one that only looks like a dump, and two that do not even do that
            (root / name).mkdir(parents=True)
            (root / name / "meta.json").write_text('{"kind": "run"}')
        (root / "20200101T000000.001Z-estop").symlink_to(tmp_path)
        (root / "a file").touch()
        recorder = Recorder(daemon.child())
        for i in range(4):
            daemon.fault(i * 2_000 * MS, "tracking" if i % 2 else "estop")
            live(daemon, recorder, i * 2_000, (i + 1) * 2_000, FAULT)
        assert [dump.fault["t_ns"] for dump in found(daemon)] == [6_000 * MS, 4_000 * MS]
        kept = {path.name for path in root.iterdir()} - {dump.directory.name for dump in found(daemon)}
        assert kept == {*others, "20200101T000000.001Z-estop", "a file"}
    finally:
        daemon.owned.close()


def test_pruning_many_dumps_takes_no_more_memory_than_few(tmp_path):
    for i in range(50):
        directory = tmp_path / f"20260304T0506{i:02}.000Z-tracking"
        directory.mkdir()
        (directory / "meta.json").write_text(json.dumps({"fault": {}, "config": ["x" * 100] * 300}))
    tracemalloc.start()
    try:
        assert len(dumps.prune(tmp_path, 48)) == 2
        assert tracemalloc.get_traced_memory()[1] < 500_000, "50 dumps at once would be 2 MB"
    finally:
        tracemalloc.stop()


def test_a_place_that_cannot_be_written_is_said_and_hurts_nothing(daemon, caplog):
    folder(daemon).parent.mkdir()
    folder(daemon).write_text("a file where the folder should be")
    recorder = Recorder(daemon.child())
    live(daemon, recorder, 0, 1_000, RUNNING)
    daemon.fault(1_000 * MS)
    live(daemon, recorder, 1_000, 3_000, FAULT)
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(said) == 1
    assert "before the fault tracking are not kept" in said[0]
    assert "recorder.directory" in said[0]
    assert len(list(folder(daemon).parent.glob("*-run-1"))) == 1
    folder(daemon).unlink()
    daemon.fault(3_000 * MS)
    live(daemon, recorder, 3_000, 4_000, FAULT)
    assert len(found(daemon)) == 1


def test_a_disk_that_fills_up_leaves_no_half_dump(daemon, monkeypatch, caplog):
    recorder = Recorder(daemon.child())
    live(daemon, recorder, 0, 1_000, IDLE)

    def full(*_):
        raise OSError(28, "No space left on device")

    daemon.fault(1_000 * MS, state="idle")
    with monkeypatch.context() as patch:
        patch.setattr("controller.npylog.NpyLog.append", full)
        live(daemon, recorder, 1_000, 3_000, FAULT)
    assert "No space left on device" in caplog.text
    assert os.listdir(folder(daemon)) == []


def test_what_is_no_dump_is_passed_over(tmp_path):
    assert dumps.dumps(tmp_path / "nothing") == []
    torn = tmp_path / "20260304T050617.000Z-tracking"
    torn.mkdir()
    (torn / "meta.json").write_text('{"fault": {')
    other = tmp_path / "20260304T050618.000Z-estop"
    other.mkdir()
    (other / "meta.json").write_text(json.dumps({"fault": {"code": "estop"}}))
    assert [dump.directory for dump in dumps.dumps(tmp_path)] == [other]
