import io
import sys
import time
from pathlib import Path

import pytest

from controller.config import load, parse, shipped
from controller.demo.options import Options, controller_toml, server_command
from controller.demo.processes import Program, ProgramError
from controller.demo.progress import Progress, live_line
from controller.demo.session import IN_CUP_S, Task

OPEN, HOLDING_THE_CUP = 0.038, 0.0345


def status(state="running", in_cup=True, left=OPEN, right=OPEN):
    q = [0.0] * 14
    q[6], q[13] = left, right
    return {"state": state, "robot": {"q": q, "environment": {"lighter_in_cup": in_cup}}}


def test_the_configuration_is_the_shipped_one_but_for_what_the_demo_sets():
    text = controller_toml(Options(seed=5), "ws://127.0.0.1:4711", Path("/some/where"))
    made, sim = parse(text, "demo"), load(shipped("sim"))
    assert (made.policy.url, made.robot.seed) == ("ws://127.0.0.1:4711", 5)
    assert made.recorder.directory == "/some/where"
    assert made.model_copy(update={"policy": sim.policy, "robot": sim.robot, "recorder": sim.recorder}) == sim
    assert made.robot.model_copy(update={"seed": sim.robot.seed}) == sim.robot


def test_the_servers_command_carries_the_choices():
    command = " ".join(server_command(Options(latency_ms=40, latency_jitter_ms=3, seed=9)))
    assert "serve --policy scripted --port 0 --latency-ms 40 --latency-jitter-ms 3 --seed 9" in command


def test_the_task_is_done_when_the_lighter_has_lain_in_the_cup_for_a_second():
    task = Task()
    assert not task.done(10.0, status())
    assert not task.done(10.0 + 0.9 * IN_CUP_S, status())
    assert task.done(10.0 + IN_CUP_S, status())
    assert task.succeeded


@pytest.mark.parametrize("spoilt", [{"in_cup": False}, {"left": 0.012}, {"right": HOLDING_THE_CUP}])
def test_what_is_out_of_the_cup_or_still_held_starts_the_second_anew(spoilt):
    task = Task()
    task.done(10.0, status())
    assert not task.done(10.5, status(**spoilt))
    assert not task.done(11.2, status())
    assert task.done(12.3, status())


def test_a_run_that_somebody_else_ended_is_not_waited_for():
    task = Task()
    assert task.done(10.0, status(state="idle", in_cup=False))
    assert not task.succeeded


def test_the_live_line_says_unknown_rather_than_nothing():
    assert live_line("starting", 0.0, {}) == (
        "starting: - 0.0 s  lighter not in cup  late p99 -  inference -  end to end -"
    )


def test_only_a_terminal_gets_the_rewritten_line():
    plain, live = io.StringIO(), io.StringIO()
    for out in (plain, live):
        progress = Progress(out, live=out is live)
        progress.show("episode 1/1", 2.0, status())
        progress.say("done")
    assert plain.getvalue() == "done\n"
    assert live.getvalue().startswith("\r\x1b[Kepisode 1/1: running 2.0 s")
    assert live.getvalue().endswith("\r\x1b[Kdone\n")


def python(code: str, log: Path) -> Program:
    return Program("helper", [sys.executable, "-u", "-c", code], log)


def test_a_program_is_awaited_and_ended(tmp_path):
    code = "import time; print('hello'); print('ready on 4711'); time.sleep(600)"
    with python(code, tmp_path / "log") as program:
        assert program.line_with("ready", 30.0) == "ready on 4711"
        assert program.running
    assert not program.running


def test_a_program_that_ignores_sigterm_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("controller.demo.processes.PATIENCE_S", 0.2)
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf'); time.sleep(600)"
    with python(code, tmp_path / "log") as program:
        program.line_with("deaf", 30.0)
    assert not program.running


def test_a_program_that_ends_early_is_told_with_its_last_words(tmp_path):
    with (
        python("import sys; sys.exit('the port is taken')", tmp_path / "log") as program,
        pytest.raises(ProgramError, match=r"(?s)helper ended before it was ready.*the port is taken"),
    ):
        program.line_with("ready", 30.0)


def test_a_program_that_says_nothing_is_not_waited_for_for_ever(tmp_path):
    with (
        python("import time; time.sleep(600)", tmp_path / "log") as program,
        pytest.raises(ProgramError, match=r"was not ready within 0\.3 s"),
    ):
        program.line_with("ready", 0.3)


def test_a_program_ends_when_the_demo_is_killed(tmp_path):
    """The kernel sees to it: the demo in between gets no chance to clean up."""
    between = (
        "import os, signal, sys, time\n"
        "from pathlib import Path\n"
        "from controller.demo.processes import Program\n"
        "code = 'import os, time; print(os.getpid(), \"ready\"); time.sleep(600)'\n"
        f"program = Program('inner', [sys.executable, '-u', '-c', code], Path({str(tmp_path / 'inner')!r}))\n"
        "print(program.line_with('ready', 30.0)); time.sleep(0.2); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with python(between, tmp_path / "log") as program:
        inner = Path("/proc") / program.line_with("ready", 30.0).split()[0]
        deadline_s = time.monotonic() + 30.0
        while inner.exists() and time.monotonic() < deadline_s:
            time.sleep(0.02)
        assert not inner.exists()
