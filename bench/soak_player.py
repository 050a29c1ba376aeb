"""Plays the episodes of a soak on a daemon, one after the other, and notes what came of each."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from typing import Any

from bench import soak_judge as judge
from bench.footprint import Footprint, footprint
from bench.host_watch import HostWatch
from bench.soak_plan import LATE_MS, Deed, Disturbance, Episode
from bench.soak_report import Outcome
from bench.soak_stack import Daemon, Server, Tap, wait_for
from controller.board import camera_process
from controller.fault_matrix import bound_s
from controller.faults import FaultCode
from controller.processes import table
from controller.recording import Rows
from controller.refused import Refused
from controller.run_options import Seam
from controller.states import State

FAULT_WITHIN_S = 12.0
"""How long a fault that must come is waited for: a hung server is given 5 s, slow runs take long to get anywhere."""

PASSES_S = 1.5
"""How long the motion is watched where no fault needs to come."""

MOVING_RAD_S = 0.2
SETTLED_S = 0.3

CAUSES_KNOWN = frozenset({Deed.KILL, Deed.HANG, Deed.PAUSE, Deed.COMMAND})
CAUSES_UNKNOWN = frozenset({FaultCode.PLAN_ENDED, FaultCode.OBSERVATION_SPREAD})
"""Such deeds are the very cause that the fault matrix counts from, unless one of these faults comes of it."""

INSIST_S = 40.0
SERVER = "policy server"


class Player:
    """Leaves the daemon idle, without a fault, after each episode. Raises TimeoutError if that does not come about."""

    def __init__(self, daemon: Daemon, server: Server, seed: int) -> None:
        self._daemon, self._server = daemon, server
        self._dice = random.Random(seed)
        self.tap, self._host = Tap(daemon), HostWatch()
        self.tap.start()
        self._host.start()
        self._beats = {row.name: row.beat_s for row in table(daemon.config)}
        self._t_cause_ns = self._t_run_ns = 0
        self._stalls: tuple[int, int] = (0, 0)
        self.lives: dict[tuple[str, int], list[tuple[float, Footprint]]] = {}

    def play(self, episode: Episode) -> Outcome:
        """One episode."""
        begin_s, self._host.longest_s, self._t_cause_ns = time.monotonic(), 0.0, 0
        outcome = Outcome(
            episode.number,
            episode.options.described(),
            episode.latency_ms,
            episode.disturbance.name,
            State.RUNNING.value,
        )
        self._server.order("fine", episode.latency_ms, episode.jitter_ms)
        if self._home(episode, outcome):
            self._run(episode, outcome)
        status = self._end(episode, outcome)
        self._judge(episode, outcome)
        self._note_footprints(status)
        outcome.took_s = time.monotonic() - begin_s
        return outcome

    # ---- the parts of an episode ---------------------------------------------------------------------------

    def _home(self, episode: Episode, outcome: Outcome) -> bool:
        """Home, and whether the disturbance is still to come."""
        status = self._daemon.allowed("home")
        if status["homed"] and not episode.homing:
            return True
        self._insist("home")
        if episode.homing and self._gets_moving():
            self._disturb(episode, outcome, State.HOMING)
            return False
        self._daemon.until("homed", lambda status: status["homed"] and status["state"] == "idle")
        return True

    def _gets_moving(self) -> bool:
        with contextlib.suppress(TimeoutError):
            return bool(wait_for("motion", lambda: self.tap.speed() > MOVING_RAD_S, 1.0))
        return False

    def _run(self, episode: Episode, outcome: Outcome) -> None:
        options = episode.options
        self._insist(
            "run", prompt=f"soak {episode.number}", seam=options.seam.word, speed=options.speed,
            dry=options.dry, execution_horizon=options.execution_horizon,
        )  # fmt: skip
        self._t_run_ns = time.monotonic_ns()
        time.sleep(episode.wait_s)
        self._disturb(episode, outcome, State.RUNNING)

    def _disturb(self, episode: Episode, outcome: Outcome, state: State) -> None:
        faults, outcome.may_pass = episode.disturbance.expected(state)
        outcome.expected, outcome.state = sorted(code.name.lower() for code in faults), state.value
        outcome.may_stall = episode.disturbance.delays_policy
        self._t_cause_ns = time.monotonic_ns()
        self._do(episode.disturbance, episode)
        end_s = time.monotonic() + (PASSES_S if outcome.may_pass else FAULT_WITHIN_S)
        while time.monotonic() < end_s:
            status = self._daemon.client.status(10.0)
            if status["state"] in ("fault", "idle"):
                break
            time.sleep(0.02)
        self._server.order("fine", episode.latency_ms, episode.jitter_ms)

    def _end(self, episode: Episode, outcome: Outcome) -> dict[str, Any]:
        """Stop what moves, note a fault, reset it."""
        daemon = self._daemon
        gone = episode.disturbance.target == "motor"  # and says nothing of rest until it is back
        with contextlib.suppress(*[TimeoutError] * gone):
            daemon.client.command("stop", 10.0)
        time.sleep(SETTLED_S)
        status = daemon.client.status(10.0)
        if episode.disturbance.deed is Deed.SERVER_KILLED:
            self._server.start_again()
        if status["fault"]:
            outcome.fault, outcome.message = status["fault"]["code"], status["fault"]["message"]
            self._insist("reset")
        outcome.as_expected = outcome.fault in outcome.expected or (outcome.may_pass and not outcome.fault)
        return daemon.until("idle", lambda status: status["state"] == "idle" and "home" in status["allowed"])

    def _judge(self, episode: Episode, outcome: Outcome) -> None:
        rows, config = self.tap.rows(), self._daemon.config
        outcome.ticks, outcome.longest_gap_s = len(rows), judge.longest_gap_s(rows)
        outcome.violations, outcome.steps = judge.beyond_limits(rows, config), judge.steps(rows, config)
        if episode.options.dry:
            outcome.steps += judge.moves(rows, self._t_run_ns)
        outcome.host_stall_s = self._host.longest_s
        if outcome.fault:
            self._time(rows, episode.disturbance, outcome)
        self.tap.forget()
        status = self._daemon.client.status(10.0)
        pid, stalls = int(status["processes"]["control"]["pid"] or 0), int(status["control"]["stall_ticks"])
        outcome.stall_ticks = stalls - (self._stalls[1] if pid == self._stalls[0] else 0)
        self._stalls = (pid, stalls)

    def _time(self, rows: Rows, disturbance: Disturbance, outcome: Outcome) -> None:
        """How long it took until the arms braked, and from there until they were at rest."""
        code = FaultCode[outcome.fault.upper()]
        beat_s = self._beats.get(self._process(disturbance.target), 0.0)
        bound = bound_s(code, self._daemon.config, beat_s)
        times = judge.braking(rows, self._t_cause_ns)
        if bound is None or times is None:  # nothing brakes, or nothing moved
            return
        outcome.rest_s = times[1]
        if disturbance.deed in CAUSES_KNOWN and code not in CAUSES_UNKNOWN:
            outcome.brake_s, outcome.bound_s = times[0], bound

    def _note_footprints(self, status: dict[str, Any]) -> None:
        """While nothing moves, so that samples of different episodes are alike."""
        pids = {name: process["pid"] for name, process in status["processes"].items() if process["pid"]}
        for name, pid in {**pids, SERVER: self._server.program.pid}.items():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                self.lives.setdefault((name, pid), []).append((time.monotonic(), footprint(pid)))

    def _insist(self, command: str, **body: Any) -> None:
        """Have a command carried out once it is allowed; what refuses it then may pass. Raises what remains."""
        deadline_s = time.monotonic() + INSIST_S
        while self._daemon.allowed(command):
            try:
                self._daemon.client.command(command, 30.0, **body)
            except (Refused, TimeoutError):
                if time.monotonic() > deadline_s:
                    raise
            else:
                return

    # ---- disturbances ----------------------------------------------------------------------------------------

    def _do(self, disturbance: Disturbance, episode: Episode) -> None:
        target = disturbance.target
        match disturbance.deed:
            case Deed.COMMAND:
                self._daemon.client.command(target, 10.0)
            case Deed.ADJUST:
                self._adjust()
            case Deed.KILL:
                self._signal(target, signal.SIGKILL)
            case Deed.HANG:
                self._signal(target, signal.SIGSTOP)
            case Deed.PAUSE:
                pid = self._signal(target, signal.SIGSTOP)
                time.sleep(episode.pause_s)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            case Deed.SERVER:
                self._server.order(target, episode.latency_ms, episode.jitter_ms)
            case Deed.LATE:
                self._server.order("fine", *LATE_MS)
            case Deed.SERVER_KILLED:
                self._server.program.kill()

    def _adjust(self) -> None:
        for _ in range(4):
            change = self._dice.choice(("speed", "seam", "both"))
            body: dict[str, Any] = {}
            if change != "seam":
                body["speed"] = round(self._dice.uniform(0.1, 1.0), 2)
            if change != "speed":
                body["seam"] = self._dice.choice(list(Seam)).word
            self._daemon.client.command("adjust", 10.0, **body)
            time.sleep(self._dice.uniform(0.05, 0.6))

    def _process(self, target: str) -> str:
        return camera_process(sorted(self._daemon.config.cameras)[0]) if target == "camera" else target

    def _signal(self, target: str, number: signal.Signals) -> int:
        pid = int(self._daemon.client.status(5.0)["processes"][self._process(target)]["pid"])
        self._t_cause_ns = time.monotonic_ns()
        os.kill(pid, number)
        return pid
