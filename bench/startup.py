"""How soon does the daemon start, brake on a fault, and recover?

    python -m bench.startup [--quick] [--json FILE]

The real daemon and policy server (`running`), several times: from the daemon's start until it takes commands; from a
process killed in mid-motion until the motors brake, and until they are at rest; from the begin of a new policy server
until a run is allowed again; from SIGKILL of the daemon to the start of a new one. Watched from outside: what the
operator's socket tells, polled, and every motor tick.
"""

from __future__ import annotations

import os
import signal
import time

from bench.alone import run_alone
from bench.host import Host
from bench.results import Bar, Result, result, spread
from bench.running import begin_run, home, running
from bench.soak_stack import Daemon, Server, Tap, wait_for
from controller.board import camera_process
from controller.fault_matrix import bound_s
from controller.faults import FaultCode
from controller.follower import Mode
from controller.processes import table

CAMERA = camera_process("cam_high")
START, BRAKE, REST = "daemon start -> takes commands", "camera killed -> braking", "camera killed -> at rest"
SERVER, AGAIN = "server restarted -> run allowed", "daemon killed -> a new one takes commands"


def usable_ms(daemon: Daemon) -> float:
    """From its start until it takes a command."""
    daemon.allowed("home")
    return (time.monotonic() - daemon.started_s) * 1e3


def bound_ms(daemon: Daemon) -> float:
    """Within which a lost camera must be braked for, by the fault matrix."""
    beat_s = next(row.beat_s for row in table(daemon.config) if row.name == CAMERA)
    bound = bound_s(FaultCode.CAMERA_LOST, daemon.config, beat_s)
    assert bound is not None  # a run is braked
    return 1e3 * bound


def fault(daemon: Daemon) -> tuple[float, float]:
    """Kill a camera's process in mid-motion: ms until the motors brake, and until they hold."""
    tap = Tap(daemon)
    tap.start()
    pid = int(daemon.client.status(5.0)["processes"][CAMERA]["pid"])
    killed_ns = time.monotonic_ns()
    os.kill(pid, signal.SIGKILL)
    daemon.until("fault", lambda status: status["state"] == "fault")
    wait_for("rest", lambda: tap.speed() == 0.0)
    rows = tap.rows()
    after = rows[rows["t_command_ns"] > killed_ns]
    brake = after[after["mode"] == Mode.BRAKE]
    if not len(brake):
        raise RuntimeError("no tick of braking was seen; did the motion end before?")
    rest = after[(after["t_command_ns"] > brake["t_command_ns"][0]) & (after["mode"] == Mode.HOLD)]
    first = (float(each["t_command_ns"][0] - killed_ns) * 1e-6 for each in (brake, rest))
    return next(first), next(first)


def server_again(daemon: Daemon, server: Server) -> float:
    """Kill the policy server of an idle daemon and start another one: ms until a run is allowed."""
    server.program.kill()
    daemon.until("server lost", lambda status: not status["policy"]["connected"])
    begin_s = time.monotonic()
    server.start_again()
    daemon.allowed("run")
    return (time.monotonic() - begin_s) * 1e3


def bench(quick: bool = False) -> Result:
    """One daemon after the other."""
    host, times = Host(), {name: list[float]() for name in (START, BRAKE, REST, SERVER, AGAIN)}
    for _ in range(2 if quick else 8):
        with running() as (daemon, server):
            times[START].append(usable_ms(daemon))
            begin_run(daemon)
            time.sleep(1.0)
            brake_ms, rest_ms = fault(daemon)
            times[BRAKE].append(brake_ms)
            times[REST].append(rest_ms)
            daemon.until("reset allowed", lambda status: "reset" in status["allowed"])
            daemon.client.command("reset", 10.0)
            home(daemon)
            times[SERVER].append(server_again(daemon, server))
            daemon.program.kill()
            daemon.start()
            times[AGAIN].append(usable_ms(daemon))
            within_ms = bound_ms(daemon)
    rows = [{"what": what} | spread(own, "ms") for what, own in times.items()]
    bars = [Bar("camera killed in mid-motion -> braking, longest", max(times[BRAKE]), within_ms, "ms")]
    return result("startup", host.header(), rows, bars)


if __name__ == "__main__":
    run_alone(bench, __doc__)
