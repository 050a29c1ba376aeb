import json
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from board_rig import MS, Daemon
from synthetic import T0_NS, handed, joints, sim_config, ticks, write_recording

from controller import layout
from controller.recorder import AFTER_NS, BEFORE_NS, Recorder, run
from controller.recording import META, VIDEO, Recording, RecordingError
from controller.run_options import Seam
from controller.states import State

IDLE, HOMING, RUNNING, FAULT = (state.code for state in (State.IDLE, State.HOMING, State.RUNNING, State.FAULT))


@pytest.fixture
def daemon(tmp_path):
    made = Daemon(tmp_path / "recordings")
    yield made
    made.owned.close()


@pytest.fixture
def film_daemon(tmp_path):
    pytest.importorskip("av")
    made = Daemon(tmp_path / "recordings", video_rate_hz=10.0)
    yield made
    made.owned.close()


def recordings(daemon) -> list[Recording]:
    root = daemon.config.recorder.directory
    return [Recording.load(meta.parent) for meta in sorted(Path(root).glob(f"*/{META}"))]


# ---- reading ---------------------------------------------------------------------------------------------


def test_a_recording_reads_back_as_it_was_written(tmp_path):
    made = {"ticks": ticks([5] * 3), "joints": joints(7), "handed": handed(2)}
    read = Recording.load(write_recording(tmp_path / "a", **made))
    for name, rows in made.items():
        np.testing.assert_array_equal(getattr(read, name), rows)
    assert read.events == [{"t_ns": T0_NS, "kind": "state", "text": "running"}]
    assert read.config == sim_config()


def test_a_killed_recorders_last_event_and_row_may_be_cut_off(tmp_path):
    directory = write_recording(tmp_path / "a", joints=joints(7))
    events = directory / "events.jsonl"
    events.write_text(events.read_text() + '{"t_ns": 12')
    rows = directory / "joints.npy"
    rows.write_bytes(rows.read_bytes()[:-10])
    read = Recording.load(directory)
    assert len(read.events) == 1
    assert len(read.joints) == 6


def test_a_directory_that_is_no_recording_is_named(tmp_path):
    with pytest.raises(RecordingError, match=r"nothing.*meta\.json"):
        Recording.load(tmp_path / "nothing")


def test_rows_of_another_layout_are_refused_with_both_versions(tmp_path):
    directory = write_recording(tmp_path / "a")
    meta = json.loads((directory / META).read_text()) | {"layout_version": 99}
    (directory / META).write_text(json.dumps(meta))
    np.save(directory / "ticks.npy", np.zeros(3, [("t_ns", "i8")]))
    with pytest.raises(RecordingError, match=rf"ticks\.npy.*version {layout.VERSION}.*version 99"):
        Recording.load(directory)


# ---- the recorder, stepped ------------------------------------------------------------------------------


def test_one_directory_per_motion_with_a_second_before_and_half_a_second_after(daemon):
    recorder, t_ns = Recorder(daemon.child()), 0
    for t_ns in range(0, 4000 * MS, 50 * MS):  # idle 1.5 s, running 1 s, idle again
        running = 1500 * MS <= t_ns < 2500 * MS
        daemon.write_joints(t_ns, 3 if running else 2)
        recorder.step(t_ns, RUNNING if running else IDLE, 3)
    (made,) = recordings(daemon)
    assert made.directory.name.endswith("-run-3")
    assert (made.motion_id, made.meta["kind"]) == (3, "run")
    times_ns = made.joints["t_ns"]
    began_ns = made.meta["started_monotonic_ns"]
    assert began_ns == 1500 * MS
    assert times_ns[0] == began_ns - BEFORE_NS
    assert 0 <= times_ns[-1] - (2450 * MS + AFTER_NS) <= 50 * MS
    assert (np.diff(times_ns) == 50 * MS).all()
    np.testing.assert_allclose(made.joints["q"][0], np.arange(14) * 0.1)
    assert made.meta["rows"] == {"ticks": 0, "joints": len(times_ns), "handed": 0, "chunks": 0}
    assert made.dropped == 0


def test_a_motion_right_after_another_gets_its_own_directory(daemon):
    recorder = Recorder(daemon.child())
    for i in range(20):
        daemon.write_joints(i * 50 * MS, 1 if i < 10 else 2)
        recorder.step(i * 50 * MS, HOMING if i < 10 else RUNNING, 1 if i < 10 else 2)
    recorder.end(1000 * MS)
    home, run_ = recordings(daemon)
    assert (home.meta["kind"], run_.meta["kind"]) == ("home", "run")
    assert home.joints["t_ns"][-1] == 450 * MS
    assert run_.joints["t_ns"][-1] == 950 * MS


def test_a_fault_is_recorded_to_the_end_of_braking(daemon):
    recorder = Recorder(daemon.child())
    for i in range(40):
        daemon.write_joints(i * 50 * MS, 1)
        recorder.step(i * 50 * MS, RUNNING if i < 10 else FAULT, 1)
    (made,) = recordings(daemon)
    assert 900 * MS < made.joints["t_ns"][-1] <= 1000 * MS


def test_every_ring_prompt_and_event_is_there_also_from_just_before(daemon):
    recorder = Recorder(daemon.child())
    daemon.event(9_990 * MS, "state", "running, by the operator")
    daemon.event(1 * MS, "state", "long ago")
    recorder.step(9_995 * MS, IDLE, 0)
    daemon.write("link_order", motion_id=1, prompt="put the lighter into the cup")
    daemon.write("tick", t_ns=10_001 * MS, motion_id=1)
    daemon.write("chunk", t_received_ns=9_999 * MS, motion_id=1, n_steps=2)
    daemon.write("handed", t_handed_ns=10_002 * MS, motion_id=1, inference_ms=25.5)
    recorder.step(10_000 * MS, RUNNING, 1)
    daemon.event(10_010 * MS, "fault", "tracking error ü")
    recorder.step(10_050 * MS, RUNNING, 1)
    recorder.end(10_100 * MS)
    (made,) = recordings(daemon)
    assert made.meta["prompt"] == "put the lighter into the cup"
    assert [(e["kind"], e["text"]) for e in made.events] == [
        ("state", "running, by the operator"),
        ("fault", "tracking error ü"),
    ]
    assert made.events[0]["time"].endswith("+00:00")
    assert made.ticks["t_ns"].tolist() == [10_001 * MS]
    assert made.handed["inference_ms"].tolist() == [25.5]
    assert made.chunks["n_steps"].tolist() == [2]
    assert made.fault is None


def test_a_run_is_recorded_with_how_it_is_played_and_a_home_without(daemon):
    child = daemon.child()
    recorder = Recorder(child)
    recorder.step(0, HOMING, 1)
    daemon.write("link_order", motion_id=2, prompt="x", execution_horizon=12)
    daemon.write("permit", state=RUNNING, motion_id=2, seam=Seam.ENSEMBLE, speed=0.3, dry=1)
    child.read_permit()
    recorder.step(50 * MS, RUNNING, 2)
    recorder.end(100 * MS)
    home, run_ = recordings(daemon)
    assert home.meta["options"] is None
    assert run_.meta["options"] == {"seam": "ensemble", "speed": 0.3, "dry": True, "execution_horizon": 12}


def test_overwritten_rows_are_counted_for_the_recording_they_are_missing_from(daemon):
    child = daemon.child()
    recorder = Recorder(child)
    for i in range(300):  # before any motion: nobody misses these
        daemon.write_joints(i * MS, 0)
    recorder.step(300 * MS, RUNNING, 1)
    recorder.step(301 * MS, RUNNING, 1)
    slots = daemon.owned.rings["joints"].spec.slots
    for i in range(slots + 50):
        daemon.write_joints((400 + i) * MS, 1)
    recorder.step(1000 * MS, RUNNING, 1)
    child.beat(1000 * MS)
    lost = int(daemon.status()["dropped"])
    assert lost >= 50
    recorder.end(1001 * MS)
    (made,) = recordings(daemon)
    assert made.dropped == lost
    assert (made.joints["motion_id"] == 1).sum() == slots


def test_the_status_says_what_is_being_recorded(daemon):
    child = daemon.child()
    recorder = Recorder(child)
    recorder.step(0, IDLE, 0)
    assert not child.status["recording"]
    daemon.write_joints(50 * MS, 1)
    recorder.step(50 * MS, RUNNING, 1)
    assert child.status["recording"]
    assert child.status["rows"] == 1
    assert child.status["directory"].item().decode().endswith("-run-1")
    for t_ns in (100 * MS, 700 * MS):
        recorder.step(t_ns, IDLE, 1)
    assert not child.status["recording"]


def test_a_place_that_cannot_be_written_is_said_once_and_the_process_goes_on(daemon, caplog, tmp_path):
    (tmp_path / "recordings").write_text("a file where the directory should be")
    child = daemon.child()
    recorder = Recorder(child)
    for i in range(20):
        recorder.step(i * 50 * MS, RUNNING, 1)
    assert not child.status["recording"]
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(said) == 1
    assert "motion 1 is not recorded" in said[0]
    assert "recorder.directory" in said[0]
    (tmp_path / "recordings").unlink()
    recorder.step(2000 * MS, RUNNING, 2)
    assert child.status["recording"]
    recorder.end(2001 * MS)
    assert [made.motion_id for made in recordings(daemon)] == [2]


def test_a_disk_that_fills_up_in_mid_motion_leaves_what_was_written(daemon, monkeypatch, caplog):
    child = daemon.child()
    recorder = Recorder(child)
    daemon.write_joints(0, 1)
    recorder.step(0, RUNNING, 1)

    def full(*_):
        raise OSError(28, "No space left on device")

    daemon.write_joints(50 * MS, 1)
    with monkeypatch.context() as patch:
        patch.setattr("controller.npylog.NpyLog.append", full)
        recorder.step(50 * MS, RUNNING, 1)
    recorder.step(100 * MS, RUNNING, 1)
    assert not child.status["recording"]
    assert "No space left on device" in caplog.text
    (made,) = recordings(daemon)
    assert made.joints["t_ns"].tolist() == [0]
    assert "rows" not in made.meta


def test_a_recorder_killed_in_mid_motion_leaves_a_readable_recording(daemon):
    recorder = Recorder(daemon.child())
    for i in range(10):
        daemon.write_joints(i * 50 * MS, 1)
        recorder.step(i * 50 * MS, RUNNING, 1)
    (made,) = recordings(daemon)
    assert len(made.joints) == 10
    recorder.end(500 * MS)


def test_the_video_is_as_long_as_the_motion_and_shows_the_newest_frames(film_daemon):
    import av

    daemon = film_daemon
    recorder = Recorder(daemon.child())
    for i in range(40):  # 2 s
        for camera in daemon.config.cameras:
            daemon.frame(camera, i * 50 * MS, 20 if i < 20 else 220)
        recorder.step(i * 50 * MS, RUNNING, 1)
    recorder.end(2000 * MS)
    (made,) = recordings(daemon)
    with av.open(str(made.directory / VIDEO)) as file:
        duration_s = file.duration / av.time_base
        shown = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in file.decode(video=0)]
    assert made.meta["video_frames"] == len(shown) == 20
    assert 1.9 <= duration_s <= 2.1
    for t_s, picture in shown:
        assert picture.shape == (480, 640, 3)
        assert abs(int(picture[180, 160].mean()) - (20 if t_s < 0.99 else 220)) < 12


def test_without_pyav_the_rows_are_recorded_and_it_is_said(film_daemon, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "av", None)
    recorder = Recorder(film_daemon.child())
    film_daemon.write_joints(0, 1)
    recorder.step(0, RUNNING, 1)
    recorder.end(1)
    (made,) = recordings(film_daemon)
    assert len(made.joints) == 1
    assert not (made.directory / VIDEO).exists()
    assert "recordings have no video: PyAV is not installed" in caplog.text


# ---- the process's own loop -----------------------------------------------------------------------------


def test_run_follows_the_permit_beats_and_ends_when_ordered(daemon):
    loop = threading.Thread(target=run, args=(daemon.child(),))
    daemon.write("permit", state=RUNNING, motion_id=4)
    loop.start()
    try:
        deadline_s = time.monotonic() + 30.0
        while not daemon.status()["recording"] and time.monotonic() < deadline_s:
            daemon.write_joints(time.monotonic_ns(), 4)
            time.sleep(0.01)
        assert daemon.status()["recording"]
        assert daemon.status()["t_ns"] > 0
    finally:
        daemon.write("permit", state=RUNNING, motion_id=4, exit=1)
        loop.join(30.0)
    assert not loop.is_alive()
    (made,) = recordings(daemon)
    assert made.motion_id == 4
    assert len(made.joints) >= 1
    assert "ended_monotonic_ns" in made.meta
