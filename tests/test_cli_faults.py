"""`pi0ctl faults` and `pi0ctl plot` on files, through pi0ctl's real main(), with and without a daemon."""

import builtins
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from fake_operations import ServedOperations
from synthetic import chunks, handed, joints, ticks, write_dump, write_recording

from controller.cli import Exit, main
from controller.cli_faults import SHIPPED
from controller.config import load, shipped
from controller.follower import Mode

NO_DAEMON = ("--socket", "/nonexistent/c.sock")


@pytest.fixture
def kept(tmp_path):
    """recorder.directory with three faults, the newest of them in mid-motion, and the recording of a run."""
    rows = joints()
    rows["mode"][200:240], rows["mode"][240:] = Mode.BRAKE, Mode.HOLD
    write_dump(tmp_path / "faults", "estop", 0.0)
    write_dump(tmp_path / "faults", "plan_ended", 0.5)
    made = {"joints": rows, "ticks": ticks([90_000] * 100), "handed": handed(), "chunks": chunks()}
    message = "tracking error: left_joint_1 is 0.41 from its command (bound 0.40)"
    write_dump(tmp_path / "faults", "tracking", 1.0, message, **made)
    write_recording(tmp_path / "20260304T050600.000Z-run-7", **made)
    return tmp_path


def pi0ctl(*arguments):
    return main([*NO_DAEMON, *map(str, arguments)])


def test_faults_are_listed_newest_first_with_where_they_were_looked_for(kept, capsys):
    assert pi0ctl("faults", "--dir", kept) == Exit.DONE
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == f"in {kept / 'faults'}, newest first:"
    assert [line.split()[1] for line in lines[::2]] == ["TRACKING", "PLAN_ENDED", "ESTOP"]
    assert lines[0].startswith("2026-03-04T05:06:01.000+00:00  TRACKING")
    assert lines[0].endswith("left_joint_1 is 0.41 from its command (bound 0.40)")
    assert lines[1].strip() == "20260304T050601.000Z-tracking"


def test_so_many_and_as_json(kept, capsys):
    assert pi0ctl("faults", "--dir", kept / "faults", "--json", "2") == Exit.DONE
    newest, second = json.loads(capsys.readouterr().out)
    assert (newest["code"], second["code"]) == ("tracking", "plan_ended")
    assert newest["directory"] == str(kept / "faults" / "20260304T050601.000Z-tracking")


@pytest.mark.parametrize("which", [[], ["latest"], ["20260304T050601.000Z-tracking"], None])
def test_show_tells_what_why_what_next_what_happened_and_where_the_joints_were(kept, capsys, which):
    path = kept / "faults" / "20260304T050601.000Z-tracking"
    assert pi0ctl("faults", "show", *([path] if which is None else which), "--dir", kept) == Exit.DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == [
        "TRACKING: tracking error: left_joint_1 is 0.41 from its command (bound 0.40)",
        "cause: a cause",
        "next:  a step",
        'when:  2026-03-04T05:06:01.000+00:00 in state running, motion 7 "a test"',
        f"files: {path}",
    ]
    assert "   -1.000  state        running" in lines
    row = joints()[200]
    (told,) = [line.split() for line in lines if line.startswith("  left 1 ")]
    assert told[2:4] == [f"{row[name][1]:.4f}" for name in ("q_command", "q")]
    (grip,) = [line.split() for line in lines if line.startswith("  right grip ")]
    assert grip[2] == f"{1e3 * row['q_command'][13]:.2f}"
    assert f"plot:  pi0ctl plot {path}" in lines


def test_show_says_when_the_arms_were_at_rest(kept, capsys):
    assert pi0ctl("faults", "show", "--dir", kept) == Exit.DONE
    assert "at rest: 200 ms after the fault" in capsys.readouterr().out
    assert pi0ctl("faults", "show", "20260304T050600.000Z-estop", "--dir", kept) == Exit.DONE
    assert "no joint reading was recorded" in capsys.readouterr().out


def test_show_as_json_has_the_events(kept, capsys):
    assert pi0ctl("faults", "show", "--json", "--dir", kept) == Exit.DONE
    shown = json.loads(capsys.readouterr().out)
    assert shown["next_step"] == "a step"
    assert [event["kind"] for event in shown["events"]] == ["state", "fault"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["faults", "0"], "must be a number of 1 or more"),
        (["faults", "some"], "must be a number of 1 or more"),
        (["faults", "show", "latest", "again"], "must be a number of 1 or more"),
        (["faults", "show", "no-such"], "no directory no-such, neither here nor in"),
        (["plot", "no-such"], "no directory no-such, neither here nor in"),
    ],
)
def test_what_is_not_there_is_said(kept, capsys, arguments, said):
    assert pi0ctl(*arguments, "--dir", kept) == Exit.USAGE
    assert said in capsys.readouterr().err


def test_a_recording_is_no_fault_and_a_dump_of_another_layout_is_refused(kept, capsys):
    run = kept / "20260304T050600.000Z-run-7"
    assert pi0ctl("faults", "show", run) == Exit.USAGE
    assert f"is not the dump of a fault; pi0ctl plot {run} draws a recording" in capsys.readouterr().err
    (kept / "faults" / "20260304T050601.000Z-tracking" / "joints.npy").unlink()
    assert pi0ctl("faults", "show", "--dir", kept) == Exit.USAGE
    assert "joints.npy" in capsys.readouterr().err


def test_without_any_fault_the_place_is_named(tmp_path, capsys):
    assert pi0ctl("faults", "--dir", tmp_path) == Exit.DONE
    assert capsys.readouterr().out == f"no fault is kept in {tmp_path}\n"
    assert pi0ctl("faults", "show", "--dir", tmp_path) == Exit.USAGE
    assert f"no fault is kept in {tmp_path}" in capsys.readouterr().err


def test_without_a_daemon_the_shipped_directory_is_looked_at(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    write_dump(tmp_path / SHIPPED / "faults", "estop", 0.0)
    assert pi0ctl("faults") == Exit.DONE
    assert str(tmp_path / SHIPPED / "faults") in capsys.readouterr().out
    assert str(SHIPPED) == load(shipped("sim")).recorder.directory


def test_a_daemon_that_answers_tells_the_directory(kept, capsys):
    with tempfile.TemporaryDirectory(prefix="pi0-") as name, ServedOperations(Path(name) / "c.sock") as daemon:
        daemon.operations.values["recorder"] = {"faults": str(kept / "faults")}
        assert main(["--socket", str(daemon.path), "faults", "1"]) == Exit.DONE
        assert "TRACKING" in capsys.readouterr().out
        daemon.operations.values = {"not JSON": object()}
        assert main(["--socket", str(daemon.path), "faults", "--dir", str(kept)]) == Exit.DONE


def test_plot_draws_a_fault_and_a_recording(kept, capsys, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    assert pi0ctl("plot", "--dir", kept) == Exit.DONE
    assert capsys.readouterr().out == "20260304T050601.000Z-tracking.png\n"
    assert (tmp_path / "20260304T050601.000Z-tracking.png").stat().st_size > 50_000
    assert pi0ctl("plot", kept / "20260304T050600.000Z-run-7", "-o", tmp_path / "run.png") == Exit.DONE
    assert (tmp_path / "run.png").stat().st_size > 50_000
    capsys.readouterr()
    estop = "20260304T050600.000Z-estop"
    assert pi0ctl("plot", estop, "--dir", kept, "-o", tmp_path / "none" / "x.png") == Exit.USAGE
    assert "x.png cannot be written" in capsys.readouterr().err


def test_without_matplotlib_plot_says_what_to_install(kept, capsys, monkeypatch):
    real = builtins.__import__

    def missing(name, *arguments, **named):
        if name.split(".")[0] == "matplotlib":
            raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")
        return real(name, *arguments, **named)

    monkeypatch.delitem(sys.modules, "controller.plot", raising=False)
    monkeypatch.setattr(builtins, "__import__", missing)
    assert pi0ctl("plot", "--dir", kept) == Exit.USAGE
    assert "uv pip install -e '.[sim]'" in capsys.readouterr().err


def test_listing_imports_nothing_heavy(kept):
    code = (
        "import sys, controller.cli as c; c.main(sys.argv[1:]); "
        "print([m for m in ('numpy', 'matplotlib', 'pydantic') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, *NO_DAEMON, "faults", "--dir", str(kept)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=dict(os.environ))
    assert shown.stdout.splitlines()[-1] == "[]"
