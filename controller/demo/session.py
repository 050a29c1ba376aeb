"""One demo from start to end: starts policy server and daemon, and drives the daemon through its socket.

Everything that moves is asked for as an operator would ask; nothing here touches shared memory or a device.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.client import Client, DaemonUnreachable, RequestError
from controller.demo.options import Options, controller_toml, daemon_command
from controller.demo.paths import Paths
from controller.demo.processes import Program
from controller.demo.progress import Progress
from controller.demo.serving import serving
from controller.demo.tasks import task_of
from controller.refused import Refused
from controller.summary import look_up

START_TIMEOUT_S = 60.0
"""The simulation compiles its scene and every process imports its libraries, on a machine that may be busy."""

HOME_TIMEOUT_S = 30.0
EPISODE_TIMEOUT_S = 60.0
"""At full speed."""

POLL_S = 0.1
RECORDED_S = 5.0
"""The recorder goes on for half a second after a motion."""

STATUS_S = 5.0
ANSWER_S = 70.0
"""`run` answers with the first chunk, `stop` at rest: both may take a while."""

LEAVE_S = 10.0

Status = dict[str, Any]


class DemoError(RuntimeError):
    """The demo cannot go on. The message says what was waited for and what the daemon said."""


@dataclass(frozen=True, slots=True)
class Episode:
    """How one episode ended. reason: empty on success. fault: the daemon's, if it had one."""

    seed: int
    success: bool
    reason: str
    duration_s: float
    fault: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """All episodes, and the daemon's last status before it was told to end."""

    episodes: list[Episode]
    status: Status


def play(options: Options, paths: Paths, progress: Progress) -> Outcome:
    """Run all episodes. Raises DemoError or ProgramError; either way nothing of the demo stays behind."""
    with tempfile.TemporaryDirectory(prefix="pi0-demo-") as private:
        socket = Path(private) / "control.sock"  # a socket's path has 107 bytes at most
        with serving(options, paths, progress) as url:
            toml = controller_toml(options, url, paths.recordings.absolute())
            paths.config.write_text(toml, encoding="utf-8")
            progress.say(f"policy server at {url}; starting the daemon")
            with Program("daemon", daemon_command(options, paths.config, socket), paths.daemon_log) as daemon:
                operator = _Operator(Client(socket), daemon, progress)
                try:
                    operator.wait_until_listening()
                    operator.wait_until_alive()
                    return Outcome(_episodes(operator, options), operator.status())
                finally:
                    operator.leave()


class _Operator:
    """Commands and waits, as a person at a terminal would."""

    def __init__(self, client: Client, daemon: Program, progress: Progress) -> None:
        self._client, self._daemon, self._progress = client, daemon, progress

    def status(self) -> Status:
        """The daemon's status. Raises DemoError when it does not answer, ProgramError when it has ended."""
        return self._ask("status", lambda: self._client.status(STATUS_S))

    def command(self, name: str, **body: Any) -> None:
        """Raises DemoError when it is refused or not answered."""
        self._ask(name, lambda: self._client.command(name, ANSWER_S, **body))

    def polls(self, label: str, timeout_s: float) -> Iterator[tuple[float, Status]]:
        """Elapsed seconds and status, ten times a second, until the time is up."""
        began_s = time.monotonic()
        while (elapsed_s := time.monotonic() - began_s) < timeout_s:
            status = self.status()
            self._progress.show(label, elapsed_s, status)
            yield elapsed_s, status
            time.sleep(POLL_S)

    def watch(self, label: str, timeout_s: float, done: Callable[[Status], bool]) -> tuple[float, Status]:
        """Poll until `done`, a fault or the time-out; the elapsed seconds and the last status."""
        latest = (0.0, self.status())
        for latest in self.polls(label, timeout_s):
            if latest[1]["state"] == "fault" or done(latest[1]):
                break
        return latest

    def wait_until_listening(self) -> None:
        """Raises DemoError when the daemon does not answer in time, ProgramError when it ends."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self.status()
            except DemoError:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(POLL_S)
            else:
                return

    def wait_until_alive(self) -> None:
        """Every process has started, the recorder too. Raises DemoError with the names of those that have not."""
        missing = ["all"]
        for _, status in self.polls("starting", START_TIMEOUT_S):
            missing = [name for name, process in status["processes"].items() if not process["alive"]]
            if not missing:
                return
        raise DemoError(f"not alive {START_TIMEOUT_S:g} s after the start: {', '.join(missing)}")

    def wait_until_allowed(self, trigger: str) -> None:
        """Raises DemoError with the daemon's own reason when it takes too long."""
        reason: Any = "no status"
        for _, status in self.polls(f"waiting to {trigger}", START_TIMEOUT_S):
            if trigger in status["allowed"]:
                return
            reason = _fault_text(status) or look_up(status, "refusals", trigger)
        raise DemoError(f"{trigger} is still refused after {START_TIMEOUT_S:g} s: {reason}")

    def leave(self) -> None:
        """No motion, and the daemon on its way out; one that does not answer is ended by its owner."""
        for name in ("stop", "shutdown"):
            with suppress(Refused, RequestError, DaemonUnreachable, TimeoutError):
                self._client.command(name, LEAVE_S)
        self._daemon.wait(LEAVE_S)

    def _ask(self, what: str, call: Callable[[], Status]) -> Status:
        try:
            return call()
        except (Refused, RequestError, DaemonUnreachable, TimeoutError) as error:
            if not self._daemon.running:
                raise self._daemon.failure("ended") from error
            raise DemoError(f"{what}: {error}") from error


def _episodes(operator: _Operator, options: Options) -> list[Episode]:
    """One after the other; a fault ends the demo, since a person would look at it first."""
    episodes: list[Episode] = []
    for index in range(options.episodes):
        episodes.append(_episode(operator, options, index))
        if episodes[-1].fault is not None:
            break
    return episodes


def _episode(operator: _Operator, options: Options, index: int) -> Episode:
    """Home, scene, run, and stop once the task is done or will not be done any more."""
    label, seed = f"episode {index + 1}/{options.episodes}", options.seed + index
    operator.wait_until_allowed("home")
    operator.command("home")
    status = operator.watch(label, HOME_TIMEOUT_S, lambda s: s["state"] == "idle")[1]
    if not status["homed"]:
        return _ended(seed, 0.0, status, f"home was not reached within {HOME_TIMEOUT_S:g} s")
    operator.command("scene", seed=seed)  # with the arms out of its way
    operator.wait_until_allowed("run")
    operator.command("run", prompt=options.prompt, **options.run_options)
    task, timeout_s = task_of(options), EPISODE_TIMEOUT_S / (options.speed or 1.0)
    duration_s, status = operator.watch(label, timeout_s, lambda s: task.done(time.monotonic(), s))
    if status["state"] == "running":
        operator.command("stop")
    status = operator.watch(label, RECORDED_S, _recorded)[1]
    return _ended(seed, duration_s, status, "" if task.succeeded else task.missed(duration_s))


def _recorded(status: Status) -> bool:
    return not look_up(status, "recorder", "recording")


def _ended(seed: int, duration_s: float, status: Status, reason: str) -> Episode:
    fault = status["fault"]
    text = _fault_text(status) or reason
    return Episode(seed, not text, text, duration_s, fault)


def _fault_text(status: Status) -> str:
    fault = status["fault"]
    return f"fault {fault['code']}: {fault['message']}" if fault else ""
