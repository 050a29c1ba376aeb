"""What the daemon makes of the programs of tests/faults, each of which does one bad thing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import FAULTS, check_smooth, configuration, daemon, leftovers, running_fast, wait_for
from servers import answering, server, sway

from controller.refused import Refused

pytestmark = pytest.mark.stack

DAEMON = (sys.executable, "-m", "controller")
BAD_CAMERA = {
    "frozen": ("camera_frozen", "cam_low shows one picture for"),
    "dark": ("camera_dark", "cam_low is dark"),
    "backwards": ("camera_time", "cam_low stamped a frame no later than the one before it"),
    "silent": ("camera_stale", "no fresh frame from cam_low"),
    "torn": ("camera_lost", "killed by signal 9"),
    "crash": ("camera_lost", "killed by signal 6"),
    "hang": ("camera_stale", "no fresh frame from cam_low"),  # long before it is killed for its heartbeat
    "late": ("observation_spread", "exposures lie"),
}


@pytest.mark.raises_fault("camera_frozen", "running")
@pytest.mark.raises_fault("camera_dark", "running")
@pytest.mark.raises_fault("camera_time", "running")
@pytest.mark.raises_fault("camera_stale", "running")
@pytest.mark.raises_fault("camera_lost", "running")
@pytest.mark.raises_fault("observation_spread", "idle", "running")
@pytest.mark.long
def test_a_bad_camera_brakes_the_arms_and_a_deaf_process_is_killed_at_the_end(tmp_path: Path) -> None:
    torn = []

    def answer(request: dict[str, Any]) -> np.ndarray[Any, Any]:
        torn.append(request["images"]["cam_low"][:, :112].min() == 255)
        return sway(request)

    replaced = ("--replace", "camera cam_low=bad_camera", "--replace", "recorder=deaf_process")
    misbehaving = (sys.executable, str(FAULTS / "misbehaving_daemon.py"), *replaced)
    way = tmp_path / "cam_low.bad"
    with server(answering(answer)) as url, daemon(tmp_path, url, misbehaving) as running:
        for word, (code, said) in BAD_CAMERA.items():
            tap = running_fast(running)
            way.write_text(word)
            status = running.until(f"fault when {word}", lambda status: status["state"] == "fault")
            assert (status["fault"]["code"], said in status["fault"]["message"]) == (code, True), status["fault"]
            running.until("at rest", lambda status: "reset" in status["allowed"])
            check_smooth(tap.drain())
            if word != "late":
                way.unlink()
            running.client.command("reset", 10.0)
        assert not any(torn)
        running.home()
        running.until("run allowed", lambda status: "run" in status["allowed"])
        with pytest.raises(Refused, match="exposures lie"):
            running.client.command("run", 30.0, prompt="x")
        children = running.children()
        os.kill(running.pid_of("recorder"), signal.SIGTERM)
        assert running.stop() == 0
        assert leftovers(running.process.pid) == []
        wait_for("no process left", lambda: not [pid for pid in children if Path(f"/proc/{pid}").exists()])


def test_on_a_full_disk_the_run_goes_on_and_that_it_is_not_recorded_is_said(tmp_path: Path) -> None:
    (tmp_path / "rec").mkdir()
    tiny = (sys.executable, str(FAULTS / "tiny_disk.py"), str(tmp_path / "rec"), "150000", *DAEMON)
    with server() as url, daemon(tmp_path, url, tiny) as running:
        running.home()
        running.run()
        running.until("said", lambda _: "No space left on device" in running.log.read_text())
        assert "is not recorded" in running.log.read_text()
        status = running.until("given up", lambda status: not status["recorder"]["recording"])
        assert status["state"] == "running"
        assert status["processes"]["recorder"]["restarts"] == 0
        running.client.command("stop", 10.0)
        assert running.stop() == 0


def refused_start(directory: Path, *before: str) -> tuple[int, subprocess.CompletedProcess[str]]:
    """A daemon that cannot start: the pid that it was started with, and how it ended."""
    path = configuration(directory, "ws://127.0.0.1:1")
    command = [*before, *DAEMON, "--config", str(path), "--socket", str(directory / "s" / "c.sock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            out, err = running.communicate(timeout=120)
        finally:
            with contextlib.suppress(ProcessLookupError):
                running.kill()
    assert not (directory / "s" / "c.sock").exists()
    return running.pid, subprocess.CompletedProcess(command, running.returncode, out, err)


def test_a_full_shared_memory_is_refused_at_start_with_what_it_lacks(tmp_path: Path) -> None:
    tiny = FAULTS / "tiny_disk.py"
    _, ended = refused_start(tmp_path, sys.executable, str(tiny), "/dev/shm", "2000000")
    assert ended.returncode == 1
    assert "/dev/shm has" in ended.stderr
    assert "enlarge /dev/shm" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == "left:\n", "nothing is left behind"


def test_too_few_open_files_are_refused_at_start_with_the_limit_and_the_need(tmp_path: Path) -> None:
    pid, ended = refused_start(tmp_path, sys.executable, str(FAULTS / "few_files.py"), "64")
    assert ended.returncode == 78
    assert ended.stderr.startswith("the limit on open files is 64, a daemon needs 256: raise it")
    assert len(ended.stderr.strip().splitlines()) == 1
    assert leftovers(pid) == []
