"""One arm: taken, checked, held, fed. Each method runs in the arm's own thread, one at a time.

`step` is one exchange with the driver: the newest command out, the newest state in. What the motor process's loop
sees of it are attributes that are replaced whole.
"""

from __future__ import annotations

import logging

import numpy as np

from controller.config_robot import Robot as RobotConfig
from controller.findings import Finding
from controller.robots import trossen_checks as checks
from controller.robots.base import ARM_JOINTS, RobotError, Vector
from controller.robots.trossen_driver import ArmDriver, Output
from controller.robots.trossen_inspect import ask, examine
from controller.robots.trossen_stream import ArmClock, Stream
from controller.ticker import Clock

NEWER_NS = 200_000_000
"""How long a taken arm may take to give a newer state."""

POLL_NS = 2_000_000
SETTLE = 5.0 * checks.OUTSIDE
"""A joint outside the range of commands is brought to its edge this fast (rad/s; gripper m/s): within 0.2 s, up to
which the driver goes in a straight line."""

HELD = np.array([0.05] * (checks.N_ARM - 1) + [0.005])
"""Once it holds, no joint may be farther from its set-point (rad; gripper m)."""

log = logging.getLogger(__name__)


class ArmLink:
    """newest: the last state that was new, and its instant. failure: why the arm no longer obeys. command: the next."""

    def __init__(self, driver: ArmDriver, config: RobotConfig, clock: Clock) -> None:
        self.arm = driver.arm
        self.newest: tuple[int, Output] | None = None
        self.failure = ""
        self.command: tuple[Vector, Vector] | None = None
        self._driver, self._config, self._clock = driver, config, clock
        self._limits: checks.ArmLimits | None = None
        self._stream: Stream | None = None
        self._device_clock = ArmClock()
        self._warm = False

    def open(self) -> None:
        """Take the arm and see whether it may be used; it stays braked. Raises RobotError."""
        self._require(*ask(self._driver, self._config))
        self._driver.take()
        limits, found = examine(self._driver, self._config)
        self._require(*found)
        self._limits = limits
        for finding in found:
            log.info("%s: %s", finding.subject, finding.text)

    def hold(self) -> None:
        """Go to position mode with the set-point where the joints are, and see that they stay. Raises RobotError."""
        limits = self._limits
        assert limits is not None, "open comes first"
        before = self._newer(None)
        self._require(checks.at_rest(self.arm, before.qd), checks.inside(self.arm, before.q, limits))
        self._driver.enter_position_mode()
        state = self._newer(before)
        self._require(checks.inside(self.arm, state.q, limits))  # it may have sagged while its brakes were released
        low, high = limits.commands
        goal = np.clip(state.q, low, high)
        time_s = max(1.0 / self._config.rate_hz, float((np.abs(goal - state.q) / SETTLE).max()))
        self._driver.set_positions(goal, None, time_s)
        self._clock.sleep_until(self._clock.now_ns() + round(1e9 * time_s))
        state = self._newer(self._driver.output())
        off = np.abs(state.q - goal) / HELD
        if not (off <= 1.0).all():
            worst = int(np.argmax(np.nan_to_num(off, nan=np.inf)))
            raise RobotError(
                f"{self.arm}: {ARM_JOINTS[worst]} is at {state.q[worst]:.4f} although held at {goal[worst]:.4f} "
                f"(bound {HELD[worst]:g} apart); check power and load of the arm"
            )
        self._stream = Stream(goal, np.array(self._config.limits.velocity), 1.0 / self._config.rate_hz)
        self._take(state)

    def step(self) -> None:
        """Hand over the newest command, take the newest state. What fails is left in `failure`."""
        try:
            self._send()
            self._take(self._driver.output())
        except RobotError as error:
            self.failure = str(error)

    def close(self) -> None:
        """Brake the arm and let go of it. Does not raise."""
        try:
            self._driver.leave()
        except RobotError as error:
            log.warning("%s", error)

    def _send(self) -> None:
        if self.command is None or self._limits is None or self._stream is None:
            return
        q, qd = self.command
        low, high = self._limits.commands
        goal, time_s = self._stream.next(self._clock.now_ns(), np.clip(q, low, high))
        self._driver.set_positions(goal, qd if self._config.velocity_feedforward else None, time_s)

    def _take(self, state: Output) -> None:
        """Keep a state if it is a new one."""
        if self.newest is not None and state.number == self.newest[1].number:
            return
        self.newest = self._device_clock.instant_ns(state.stamp_us, self._clock.now_ns()), state
        self._feel(state.temperature)

    def _feel(self, celsius: Vector) -> None:
        """Tell it when the arm gets warm."""
        warm_c = self._config.trossen.warm_c
        warm, self._warm = self._warm, bool((celsius >= warm_c).any())
        if self._warm and not warm:
            found = checks.temperature(self.arm, celsius, warm_c)
            log.warning("%s: %s; %s", found.subject, found.text, found.next_step)

    def _newer(self, than: Output | None) -> Output:
        """A state that came after another. Raises RobotError when none comes."""
        begun_ns = self._clock.now_ns()
        state = self._driver.output()
        number = state.number if than is None else than.number
        while state.number == number:
            now_ns = self._clock.now_ns()
            if (waited_ns := now_ns - begun_ns) > NEWER_NS:
                raise RobotError(
                    f"{self.arm}: no new state for {waited_ns * 1e-6:.0f} ms (bound {NEWER_NS * 1e-6:.0f} ms); "
                    "check power and cable of the arm"
                )
            self._clock.sleep_until(now_ns + POLL_NS)
            state = self._driver.output()
        return state

    def _require(self, *findings: Finding) -> None:
        if failed := checks.failures(findings):
            raise RobotError(failed)
