"""Bring-up: words that are true of the kit, readings that are judged, a memory, and a person who may refuse."""

from __future__ import annotations

import io
import json
import math
import os
import pty
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
from fake_operations import ServedOperations

from controller.bringup import motions, steps
from controller.bringup.directions import AWAY, NEAR, expected
from controller.bringup.history import CONFIRMED, FAILED, REFUSED, Entry, History, HistoryError, confirmed
from controller.bringup.judge import JOG_M, JOG_RAD, farthest, jogs, told, wrong_with
from controller.cli import Exit, main
from controller.config import load, shipped
from controller.config_robot import both_arms
from controller.jog import Jog
from controller.paths import state_directory
from controller.refused import Refused
from controller.robots.base import GRIPPERS, JOINT_NAMES
from controller.sim import kit

SIM = load(shipped("sim"))
HOME = both_arms(SIM.robot.homing.pose)
LOWER, UPPER = both_arms(SIM.robot.limits.lower), both_arms(SIM.robot.limits.upper)
POSES = {"folded": np.zeros(14), "start": both_arms(kit.START_POSE), "home": HOME}


# ---- what a person sees ------------------------------------------------------------------------------


class Seen:
    """Where the kit's hands are and how they are turned."""

    def __init__(self) -> None:
        self.kit = kit.build()
        self.data = mujoco.MjData(self.kit.model)

    def look(self, q: np.ndarray[Any, Any], side: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], float]:
        """Position of the tool point, its axes as columns, distance of the fingers."""
        self.data.qpos[self.kit.joint_qpos] = q
        self.data.qpos[self.kit.mimic_qpos] = q[list(GRIPPERS)]
        mujoco.mj_kinematics(self.kit.model, self.data)
        site, body = self.data.site(f"{side}_tool"), self.data.body
        fingers = body(f"{side}_carriage_left").xpos - body(f"{side}_carriage_right").xpos
        return site.xpos.copy(), site.xmat.reshape(3, 3).copy(), float(np.linalg.norm(fingers))


SEEN = Seen()


def true_of(words: str, seen: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], float]) -> bool:
    """Whether the words say what was seen: x leads away from the person, z up, the fingers along the tool's x."""
    moved, turned, opened = seen
    fingers = turned[:, 0]
    said = {
        f"the hand goes {AWAY}": moved[0] > 0.005, f"the hand comes {NEAR}": moved[0] < -0.005,
        "the hand goes up": moved[2] > 0.005, "the hand goes down": moved[2] < -0.005,
        "fingers point higher": fingers[2] > 0.05, "fingers point lower": fingers[2] < -0.05,
        f"fingers go {AWAY}": fingers[0] > 0.05, f"fingers come {NEAR}": fingers[0] < -0.05,
        "fingers open": opened > 1e-3, "fingers close": opened < -1e-3,
    }  # fmt: skip
    found = [holds for phrase, holds in said.items() if phrase in words]
    assert len(found) == 1, words
    return bool(found[0])


@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize("joint", [name for name in JOINT_NAMES if not name.endswith("joint_5")])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_words_are_what_the_kit_does(pose: str, joint: str, sign: float) -> None:
    side, q = joint.split("_")[0], POSES[pose].copy()
    jog = Jog(joint, sign * (JOG_M if JOINT_NAMES.index(joint) in GRIPPERS else JOG_RAD))
    before = SEEN.look(q, side)
    q[jog.index] += jog.by
    after = SEEN.look(q, side)
    difference = after[0] - before[0], after[1] - before[1], after[2] - before[2]
    assert true_of(expected(jog), difference), expected(jog)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("by", [0.08, -0.08])
def test_a_roll_is_clockwise_seen_from_the_forearm_or_not(side: str, by: float) -> None:
    jog, q = Jog(f"{side}_joint_5", by), HOME.copy()
    before = SEEN.look(q, side)[1]
    q[jog.index] += by
    turn = SEEN.look(q, side)[1] @ before.T
    axis = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    clockwise = axis @ before[:, 0] > 0.0  # a right-hand screw goes forward, away from who looks along the fingers
    assert ("counter-clockwise" not in expected(jog)) is bool(clockwise)


# ---- what the readings say ---------------------------------------------------------------------------


def test_every_joint_is_jogged_once_and_never_out_of_its_limits() -> None:
    for q in (HOME, LOWER, UPPER, np.zeros(14)):
        made = jogs(q, LOWER, UPPER)
        assert [jog.joint for jog in made] == list(JOINT_NAMES)
        for jog in made:
            goal = jog.goal(q, LOWER, UPPER)
            assert abs(goal[jog.index] - q[jog.index]) == pytest.approx(JOG_M if jog.index in GRIPPERS else JOG_RAD)
    assert jogs(HOME, LOWER, UPPER)[6].by < 0.0  # home is with open grippers


def after(by: float, other: float = 0.0) -> np.ndarray[Any, Any]:
    q = HOME.copy()
    q[1] += by
    q[8] += other
    return q


@pytest.mark.parametrize(
    ("q", "reason"),
    [
        (after(0.05), ""),
        (after(0.064, 0.019), ""),
        (after(0.0), "left_joint_1 moved by 0.0 deg, asked for was 2.9 deg (bound 0.9 deg off)"),
        (after(-0.05), "left_joint_1 moved by -2.9 deg"),
        (after(0.05, 0.03), "right_joint_1 moved too, by 1.7 deg (bound 1.1 deg): are the arms' addresses"),
        (after(math.nan), "no number"),
    ],
)
def test_the_reading_shows_the_jog_and_nothing_else(q: np.ndarray[Any, Any], reason: str) -> None:
    found = wrong_with(Jog("left_joint_1", 0.05), HOME, q)
    assert found.startswith(reason) if reason and reason != "no number" else reason in found
    assert bool(found) is bool(reason)


def test_people_read_degrees_and_millimetres() -> None:
    assert (told(1, math.pi / 6), told(6, 0.0405)) == ("30.0 deg", "40.5 mm")


def test_the_farthest_of_a_plan_is_looked_for_joint_by_joint() -> None:
    far = farthest(np.zeros(14), [np.full(14, 0.1), np.full(14, -0.3), np.full(14, 0.2)])
    np.testing.assert_array_equal(far, -0.3)


# ---- who confirmed what ------------------------------------------------------------------------------

ABOUT = {"robot": "sim", "config": "sim.toml", "version": "0.1.0"}


def test_the_history_is_signed_appended_and_read_back(tmp_path: Path) -> None:
    history = History(tmp_path / "below" / "h.jsonl")
    assert history.entries() == []
    history.add(Entry("home", CONFIRMED, values={"speed": 0.2}, **ABOUT))
    history.add(Entry("home", FAILED, **ABOUT))
    first, second = history.entries()
    assert (first.step, first.result, first.values, second.result) == ("home", CONFIRMED, {"speed": 0.2}, FAILED)
    assert first.user
    assert first.time.endswith("+00:00")


def test_only_the_newest_word_about_this_robot_and_version_counts() -> None:
    entries = [
        Entry("reading", CONFIRMED, **ABOUT),
        Entry("home", CONFIRMED, **ABOUT),
        Entry("home", REFUSED, **ABOUT),
        Entry("dry run", CONFIRMED, **ABOUT | {"version": "0.0.9"}),
        Entry("slow run", CONFIRMED, **ABOUT | {"config": "other.toml"}),
    ]
    assert confirmed(entries, **ABOUT) == {"reading"}


def test_a_history_that_cannot_be_read_or_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("{")
    with pytest.raises(HistoryError, match="bad is no history of a bring-up"):
        History(tmp_path / "bad").entries()
    with pytest.raises(HistoryError, match="cannot be written"):
        History(tmp_path / "bad" / "h.jsonl").add(Entry("home", CONFIRMED, **ABOUT))


def test_where_state_goes(tmp_path: Path) -> None:
    assert state_directory(tmp_path, {}) == tmp_path
    gone = tmp_path / "no"
    assert state_directory(gone, {"XDG_STATE_HOME": "/x"}) == Path("/x/pi0-controller")
    assert state_directory(gone, {"XDG_STATE_HOME": "x"}, Path("/h")) == Path("/h/.local/state/pi0-controller")


def test_a_step_needs_those_before_it_but_the_checklist_which_is_always_gone_through() -> None:
    assert steps.missing(steps.READING, set()) == []
    assert steps.missing(steps.JOGS[1], {steps.READING}) == [steps.JOGS[0]]
    assert steps.missing(steps.FULL_RUN, set(steps.STEPS)) == []


def test_what_does_not_watch_is_asked_for() -> None:
    said = steps.checklist({"guard": {"enabled": False}, "robot": {"contact": "not reported"}})
    assert len(said) == len(steps.HANDS_OFF) + 2
    assert "guard is off" in said[-2]
    assert "not reported" in said[-1]
    assert steps.checklist({"guard": {"enabled": True}, "robot": {"contact": "watched"}}) == steps.HANDS_OFF


# ---- the conversation --------------------------------------------------------------------------------


class Daemon(ServedOperations):
    """A simulated daemon whose joints move when it is told to, in no time."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        values = self.operations.values
        values["robot"] |= {"kind": "sim", "q": HOME.tolist(), "q_command": HOME.tolist()}
        values["robot"] |= {"lower": LOWER.tolist(), "upper": UPPER.tolist()}
        values["control"]["q_planned"] = (HOME + 0.1).tolist()
        self.stuck: set[str] = set()
        self.operations.during_motion = self.move

    def move(self) -> None:
        operations = self.operations
        name, argument = operations.called[-1]
        if name == "jog" and argument[0] not in self.stuck:
            q = np.array(operations.values["robot"]["q"])
            q[JOINT_NAMES.index(argument[0])] += argument[1]
            operations.values["robot"] |= {"q": q.tolist(), "q_command": q.tolist()}
        if name in ("jog", "home"):
            operations.values |= {"state": "idle", "homed": name == "home"}


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    monkeypatch.setattr("controller.api.SHUTDOWN_TIMEOUT_S", 0.1)
    monkeypatch.setattr("controller.waiting.POLL_S", 0.01)
    monkeypatch.setattr(motions, "SETTLE_S", 0.0)
    with tempfile.TemporaryDirectory(prefix="pi0-") as name, Daemon(Path(name) / "c.sock") as served:
        yield served


def bring_up(daemon: Daemon, state: Path, monkeypatch: pytest.MonkeyPatch, answers: str, *arguments: str) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(answers))
    command = ["--socket", str(daemon.path), "bring-up", "--state", str(state), "--for", "0.1", *arguments]
    return main(command)


LIST = "y\n" * len(steps.HANDS_OFF)
JOG = "y\n" * 2


def test_all_the_way_to_full_speed(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "h.jsonl"
    answers = LIST + "y\n" + 14 * JOG + 2 * "yes\n" + "put it there\n" + 2 * "y\n" + 2 * "y\n" + 2 * "Y\n"
    assert bring_up(daemon, state, monkeypatch, answers) == Exit.DONE
    called = daemon.operations.called
    assert [name for name, _ in called] == ["jog", "jog"] * 14 + ["home", "run", "stop", "run", "stop", "run", "stop"]
    there = [argument for name, argument in called if name == "jog"]
    assert [joint for joint, _, _ in there[::2]] == [joint for joint, _, _ in there[1::2]] == list(JOINT_NAMES)
    assert [by for _, by, _ in there[::2]] == [-by for _, by, _ in there[1::2]]
    assert {speed for _, _, speed in there} == {0.1}
    assert called[28] == ("home", 0.2)
    assert daemon.operations.options.speed == 1.0
    entries = History(state).entries()
    assert [entry.step for entry in entries] == list(steps.STEPS)
    assert {entry.result for entry in entries} == {CONFIRMED}
    dry = next(entry for entry in entries if entry.step == steps.DRY_RUN)
    assert dry.values["prompt"] == "put it there"
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["left", "1", "60.0", "deg", "65.7", "deg", "5.7", "deg"] in shown
    assert bring_up(daemon, state, monkeypatch, "", "--history") == Exit.DONE
    assert capsys.readouterr().out.count("confirmed") == len(steps.STEPS)


@pytest.mark.parametrize(
    ("answers", "step", "moved"),
    [
        ("", steps.CHECKLIST, 0),
        ("n\n", steps.CHECKLIST, 0),
        ("y\ny\ny\nof course\n", steps.CHECKLIST, 0),
        (LIST + "\n", steps.READING, 0),
        (LIST + "y\n" + "no\n", steps.JOGS[0], 0),
        (LIST + "y\n" + JOG + "y\nn\n", steps.JOGS[1], 3),
    ],
)
def test_whatever_is_not_agreed_to_ends_it_and_is_remembered(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: str, step: str, moved: int
) -> None:
    state = tmp_path / "h.jsonl"
    assert bring_up(daemon, state, monkeypatch, answers) == Exit.REFUSED
    assert len(daemon.operations.called) == moved
    last = History(state).entries()[-1]
    assert (last.step, last.result) == (step, REFUSED)


def test_a_jog_that_the_reading_does_not_show_ends_it(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.stuck.add("left_joint_1")
    assert bring_up(daemon, tmp_path / "h", monkeypatch, LIST + "y\n" + 3 * JOG) == Exit.REFUSED
    out = capsys.readouterr().out
    assert "left_joint_1 moved by 0.0 deg, asked for was 5.0 deg" in out
    assert "pi0ctl bring-up --from 'jog left_joint_1'" in out
    last = History(tmp_path / "h").entries()[-1]
    assert (last.step, last.result) == ("jog left_joint_1", FAILED)


def test_it_goes_on_where_it_ended_with_the_checklist_first(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "h.jsonl"
    assert bring_up(daemon, state, monkeypatch, LIST, "--from", "jog left_joint_1") == Exit.REFUSED
    assert "comes after 'reading', which nobody has confirmed yet" in capsys.readouterr().out
    assert bring_up(daemon, state, monkeypatch, LIST + "y\n" + JOG) == Exit.REFUSED
    daemon.operations.called.clear()
    assert bring_up(daemon, state, monkeypatch, LIST + JOG, "--from", "jog left_joint_1") == Exit.REFUSED
    assert [argument[0] for _, argument in daemon.operations.called] == ["left_joint_1"] * 2
    daemon.operations.values["config_fingerprint"] = "of the same file with the arms' addresses exchanged"
    assert bring_up(daemon, state, monkeypatch, LIST, "--from", "jog left_joint_1") == Exit.REFUSED
    assert "comes after 'reading', which nobody has confirmed yet" in capsys.readouterr().out
    assert bring_up(daemon, state, monkeypatch, LIST, "--from", "somewhere") == Exit.USAGE


def test_a_refusal_of_the_daemon_and_a_fault_are_told_and_remembered(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "h.jsonl"
    daemon.operations.refusal = Refused("not ready: motor", [])
    assert bring_up(daemon, state, monkeypatch, LIST + "y\n" + JOG) == Exit.REFUSED
    assert History(state).entries()[-1].values == {"refused": "not ready: motor"}
    daemon.operations.refusal = None
    daemon.operations.during_motion = daemon.operations.trip
    assert bring_up(daemon, state, monkeypatch, LIST + "y\n" + JOG) == Exit.FAULT
    assert "next:  check inference time" in capsys.readouterr().out
    assert History(state).entries()[-1].result == FAILED
    assert bring_up(daemon, state, monkeypatch, LIST) == Exit.FAULT
    assert "The daemon is in a fault; reset it first." in capsys.readouterr().out


def test_a_real_robot_takes_answers_from_a_terminal_only(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.operations.values["robot"]["kind"] = "trossen"
    assert bring_up(daemon, tmp_path / "h", monkeypatch, LIST + "y\n" * 50) == Exit.USAGE
    assert "a person at a terminal must answer" in capsys.readouterr().err
    assert daemon.operations.called == []
    assert not (tmp_path / "h").exists()


def test_the_picture_shows_the_kit(tmp_path: Path) -> None:
    from PIL import Image

    from controller.sim.portrait import draw

    def drawn(name: str, q: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        draw(tmp_path / name, q)
        with Image.open(tmp_path / name) as picture:
            return np.asarray(picture, dtype=np.int16)

    home, other = drawn("a.png", HOME), drawn("b.png", np.zeros(14))
    assert home.shape == (480, 640, 3)
    assert (np.abs(home - other).max(axis=2) > 40).mean() > 0.02


def test_a_picture_that_cannot_be_written_is_said(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers, where = LIST + "n\n", str(tmp_path / "no" / "p.png")
    assert bring_up(daemon, tmp_path / "h", monkeypatch, answers, "--picture", where) == Exit.REFUSED
    assert "There is no picture: " in capsys.readouterr().out


def test_the_lines_of_the_history_are_json(daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring_up(daemon, tmp_path / "h", monkeypatch, LIST + "y\n")
    lines = [json.loads(line) for line in (tmp_path / "h").read_text().splitlines()]
    assert [line["step"] for line in lines] == [steps.CHECKLIST, steps.READING, steps.JOGS[0]]
    assert len(lines[1]["values"]["q"]) == 14


def spawn(daemon: Daemon, state: Path, stdin: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "controller.cli", "--socket", str(daemon.path), "bring-up", "--state", str(state)]
    return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def read_until_asked(person: subprocess.Popen[str]) -> None:
    assert person.stdout is not None
    while (letter := person.stdout.read(1)) != ">":
        assert letter, "it ended without a question"


def test_a_person_at_a_terminal_answers_for_a_real_robot(daemon: Daemon, tmp_path: Path) -> None:
    daemon.operations.values["robot"]["kind"] = "trossen"
    ours, theirs = pty.openpty()
    try:
        os.write(ours, b"y\ny\ny\ny\n")  # before anything is asked: no answer
        with spawn(daemon, tmp_path / "h", theirs) as person:
            for answer in (b"y\n", b"no\n"):
                read_until_asked(person)
                os.write(ours, answer)
            out, _ = person.communicate(timeout=60)
    finally:
        os.close(ours)
        os.close(theirs)
    assert person.returncode == Exit.REFUSED, out
    (entry,) = History(tmp_path / "h").entries()
    assert (entry.step, entry.result, entry.robot) == (steps.CHECKLIST, REFUSED, "trossen")
    assert entry.values["to"] == steps.HANDS_OFF[1]


def test_ctrl_c_in_a_jog_stops_the_arms_and_is_remembered(daemon: Daemon, tmp_path: Path) -> None:
    daemon.operations.during_motion = None  # the joint is on its way for ever
    with spawn(daemon, tmp_path / "h", subprocess.PIPE) as person:
        assert person.stdin is not None
        person.stdin.write(LIST + "y\n" + JOG)
        person.stdin.flush()
        while not daemon.operations.called and person.poll() is None:
            time.sleep(0.005)
        person.send_signal(signal.SIGINT)
        out, err = person.communicate(timeout=60)
    assert person.returncode == Exit.INTERRUPTED, out + err
    assert [name for name, _ in daemon.operations.called] == ["jog", "stop"]
    assert "the arms are at rest" in err
    last = History(tmp_path / "h").entries()[-1]
    assert (last.step, last.result) == (steps.JOGS[0], FAILED)
