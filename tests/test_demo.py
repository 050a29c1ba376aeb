import io
import sys
import time
from pathlib import Path

import pytest

from controller.config import load, parse, shipped
from controller.demo.__main__ import main
from controller.demo.options import POLICIES, TOY, Options, controller_toml, daemon_command, server_command, toy_command
from controller.demo.processes import Program, ProgramError
from controller.demo.progress import Progress, live_line
from controller.demo.serving import wait_until_ready
from controller.demo.tasks import IN_CUP_S, MOTION_S, LighterInCup, Motion, task_of

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


def test_the_same_simulation_as_a_robot_of_lerobots():
    made = parse(controller_toml(Options(robot="lerobot", seed=5), "ws://127.0.0.1:4711", Path("/some/where")), "demo")
    assert (made.robot.kind, made.robot.lerobot.type, made.robot.lerobot.config) == ("lerobot", "pi0sim", {"seed": 5})
    assert made.robot.is_simulated
    assert made.cameras == load(shipped("sim")).cameras


def test_only_the_daemon_runs_where_lerobot_is(monkeypatch):
    monkeypatch.setattr(sys, "prefix", "/some/where/.venv")
    usual, other = Options(), Options(robot="lerobot")
    assert daemon_command(usual, Path("c"), Path("s"))[0] == server_command(other, Path("t"))[0] == sys.executable
    assert daemon_command(other, Path("c"), Path("s"))[0] == "/some/where/.venv-lerobot/bin/python"


def test_a_demo_without_lerobot_says_how_to_get_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    with pytest.raises(SystemExit) as ended:
        main(["--robot", "lerobot", "--runs-dir", str(tmp_path / "runs")])
    assert ended.value.code == 2
    assert "python, which is not there: make setup-lerobot" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_the_servers_command_carries_the_choices():
    command = " ".join(server_command(Options(latency_ms=40, latency_jitter_ms=3, seed=9), Path("unused")))
    assert "serve --policy scripted --port 0 --latency-ms 40 --latency-jitter-ms 3 --seed 9" in command


def test_a_toy_is_made_and_served_from_the_same_directory():
    options = Options(policy=TOY, seed=9)
    made = toy_command(options, Path("/some/toy"))
    assert made[1:] == ["-m", "policy_server.toy", "/some/toy", "--seed", "9"]
    served = " ".join(server_command(options, Path("/some/toy")))
    assert "serve --config /some/toy/toy.toml --checkpoint /some/toy/checkpoint --no-rtc --port 0" in served
    assert "--policy" not in served


def test_a_toy_offers_real_time_chunking_where_the_demo_wants_it():
    assert "--no-rtc" in server_command(Options(policy=TOY, seam="blend"), Path("/some/toy"))
    assert "--no-rtc" not in server_command(Options(policy=TOY, seam="rtc"), Path("/some/toy"))


def test_a_run_is_asked_for_only_what_the_demo_was_asked_for():
    assert Options().run_options == {}
    assert Options(seam="rtc", speed=0.5).run_options == {"seam": "rtc", "speed": 0.5}
    assert Options(execution_horizon=0).run_options == {"execution_horizon": 0}


WRONG = [("--robot", "ur5"), ("--seam", "smooth"), ("--speed", "2"), ("--speed", "nan"), ("--execution-horizon", "128")]


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_usage_starts_nothing(wrong, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*wrong, "--runs-dir", str(tmp_path / "runs")])
    assert ended.value.code == 2
    assert wrong[0] in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_each_policy_has_its_own_measure_of_success():
    assert [type(task_of(Options(policy=policy))) for policy in POLICIES] == [LighterInCup, Motion]


def test_a_motion_that_means_nothing_is_followed_for_its_time():
    task = Motion()
    assert not task.done(50.0, status(in_cup=False))
    assert not task.done(50.0 + 0.99 * MOTION_S, status())
    assert not task.succeeded
    assert task.done(50.0 + MOTION_S, status(in_cup=False))
    assert task.succeeded


@pytest.mark.parametrize("state", ["fault", "idle"])
def test_a_motion_that_ends_before_its_time_is_no_success(state):
    task = Motion()
    task.done(50.0, status())
    assert task.done(50.0 + MOTION_S, status(state=state))
    assert not task.succeeded
    assert task.missed(4.2) == "the motion ended after 4.2 s, not 10 s"


def test_the_task_is_done_when_the_lighter_has_lain_in_the_cup_for_a_second():
    task = LighterInCup()
    assert not task.done(10.0, status())
    assert not task.done(10.0 + 0.9 * IN_CUP_S, status())
    assert task.done(10.0 + IN_CUP_S, status())
    assert task.succeeded


@pytest.mark.parametrize("spoilt", [{"in_cup": False}, {"left": 0.012}, {"right": HOLDING_THE_CUP}])
def test_what_is_out_of_the_cup_or_still_held_starts_the_second_anew(spoilt):
    task = LighterInCup()
    task.done(10.0, status())
    assert not task.done(10.5, status(**spoilt))
    assert not task.done(11.2, status())
    assert task.done(12.3, status())


def test_a_run_that_somebody_else_ended_is_not_waited_for():
    task = LighterInCup()
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
        progress.wait("warming up", 3.4)
        progress.say("done")
    assert plain.getvalue() == "done\n"
    assert "\r\x1b[Kwarming up: 3 s" in live.getvalue()
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


def test_a_program_that_has_work_to_do_is_waited_for_with_progress(tmp_path, monkeypatch):
    monkeypatch.setattr("controller.demo.processes.TELL_S", 0.02)
    told = []
    with python("import time; time.sleep(0.5)", tmp_path / "log") as program:
        program.finish(30.0, told.append)
    assert len(told) > 1
    assert told == sorted(told)


def test_work_that_fails_or_never_ends_is_told(tmp_path):
    with (
        python("import sys; sys.exit('the disk is full')", tmp_path / "log") as program,
        pytest.raises(ProgramError, match=r"(?s)helper ended with exit status 1.*the disk is full"),
    ):
        program.finish(30.0)
    with (
        python("import time; time.sleep(600)", tmp_path / "log") as program,
        pytest.raises(ProgramError, match=r"did not end within 0\.1 s"),
    ):
        program.finish(0.1)


SERVER = """
from http.server import BaseHTTPRequestHandler, HTTPServer
answers = [(503, "warming up"), (503, "warming up"), (200, "0 of 8 clients connected")]
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        assert self.path == "/readyz"
        code, text = answers.pop(0)
        self.send_response(code)
        self.end_headers()
        self.wfile.write(text.encode())
server = HTTPServer(("127.0.0.1", 0), Handler)
print(f"listening on ws://127.0.0.1:{server.server_port}")
for _ in range(2 if ENDS else 99):
    server.handle_request()
"""


def test_a_server_is_awaited_until_it_says_that_it_is_warm(tmp_path):
    out = io.StringIO()
    with python("ENDS = False" + SERVER, tmp_path / "log") as program:
        url = program.line_with("listening", 30.0).split()[-1]
        wait_until_ready(program, url, Progress(out, live=True))
    assert out.getvalue().count("\x1b[Kpolicy server: warming up\n") == 1
    assert out.getvalue().count("\x1b[Kpolicy server: warming up: ") == 2


def test_a_server_that_ends_while_it_warms_up_is_told(tmp_path):
    with python("ENDS = True" + SERVER, tmp_path / "log") as program:
        url = program.line_with("listening", 30.0).split()[-1]
        with pytest.raises(ProgramError, match="helper ended before it was ready"):
            wait_until_ready(program, url, Progress(io.StringIO(), live=False))


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
