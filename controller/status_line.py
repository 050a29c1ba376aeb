"""What the daemon does now, in the one line that `systemctl status` shows. Part of the supervisor."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from controller.board import camera_process
from controller.states import State

if TYPE_CHECKING:
    from controller.supervisor import Supervisor

COUNTED = {"control": "ticks", "motor": "ticks", "link": "answers"}
"""The counter of each process whose rate is told."""


class StatusLine:
    """Rates are taken from one call to the next; a process that began anew has none yet."""

    def __init__(self, daemon: Supervisor) -> None:
        self._daemon = daemon
        self._t_ns, self._counts = time.monotonic_ns(), self._counted()

    def __call__(self) -> str:
        rates = ", ".join(self._rates(time.monotonic_ns()))
        daemon = self._daemon
        if fault := daemon.fault:
            return f"fault {fault['code']}: {fault['message']}; next: {fault['next_step']}; {rates}"
        word = daemon.machine.state.value
        if daemon.machine.state is State.IDLE:
            word += ", homed" if daemon.machine.homed else ", not homed"
        if (run := daemon.runs.current) is not None:
            word += " (dry)" if run.options.dry else ""
            word += f" {run.prompt!r}"
        return f"{word}; {rates}"

    def _counted(self) -> dict[str, int]:
        children = self._daemon.children
        return {name: int(children[name].status[counter]) for name, counter in COUNTED.items()}

    def _rates(self, now_ns: int) -> list[str]:
        daemon, counts = self._daemon, self._counted()
        span_s = (now_ns - self._t_ns) * 1e-9
        rate = {name: max(counts[name] - self._counts[name], 0) / max(span_s, 1e-3) for name in COUNTED}
        self._t_ns, self._counts = now_ns, counts
        told = [
            f"{name} {rate[name]:.0f} Hz" if daemon.children[name].healthy else f"{name} DOWN"
            for name in ("motor", "control")
        ]
        told += [f"{camera} {self._camera(camera)}" for camera in daemon.config.cameras]
        link = daemon.children["link"]
        if not (link.healthy and link.status["connected"]):
            return [*told, "no policy server"]
        return [*told, f"policy {rate['link']:.0f} Hz" if daemon.runs.current is not None else "policy connected"]

    def _camera(self, name: str) -> str:
        running = self._daemon.children[camera_process(name)]
        return f"{float(running.status['measured_hz']):.0f} Hz" if running.healthy else "DOWN"
