"""What is missing before something may begin, judged by the children's newest records. Runs in the supervisor."""

from __future__ import annotations

from controller import layout
from controller.board import camera_process
from controller.children import Children
from controller.config import Config
from controller.follower import Mode
from controller.status import at_rate, server_of


class Readiness:
    """Each answer is empty when all is well, else it says what is missing."""

    def __init__(self, config: Config, children: Children) -> None:
        self._config, self._children = config, children

    def missing(self, *processes: str) -> str:
        """Which of these processes are not there or do not beat."""
        names = [name for name in processes if not self._children[name].healthy]
        return f"not ready: {', '.join(names)}" if names else ""

    def at_rest(self, since_ns: int = 0) -> bool:
        """The motor process says that it holds, in a record written after since_ns."""
        motor = self._children["motor"]
        fresh = motor.healthy and int(motor.status["t_ns"]) > since_ns
        return fresh and int(motor.status["mode"]) == Mode.HOLD

    def wanted_cameras(self) -> tuple[str, ...]:
        """The cameras that the connected server asked for, else those of the configuration."""
        server = server_of(self._children["link"].status)
        return tuple(server["cameras"]) if server else self._config.policy.cameras

    def missing_for_run(self) -> str:
        """Policy server connected, and every camera that it wants alive and at its rate."""
        if missing := self.missing("link"):
            return missing
        link = self._children["link"].status
        if not link["connected"]:
            why = layout.text(link["error"])
            return f"no connection to the policy server at {self._config.policy.url}" + (f": {why}" if why else "")
        if missing := self.missing(*(camera_process(name) for name in self.wanted_cameras())):
            return missing
        for name in self.wanted_cameras():
            status = self._children[camera_process(name)].status
            if not at_rate(status):
                return f"{name} delivers {status['measured_hz']:.1f} Hz, set to {status['rate_hz']:.0f} Hz"
        return ""
