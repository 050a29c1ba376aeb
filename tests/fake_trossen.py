"""Arms that are not there, behind the vendor's Python interface, on a clock that a test moves.

`sdk` has the names, signatures and behaviour of the package `trossen_arm` as far as our adapter uses it
(test_trossen_sdk compares both). Behind it each `Controller` is one arm: its firmware's checks and what a person could
do to it. It is the unkind version of what is documented: a goal a millionth beyond a limit or faster than one stops the
arm, an exception waits for the next call and is told once, and a dead link leaves the last state and a flag that still
says configured.
"""

from __future__ import annotations

import enum
from types import SimpleNamespace

import numpy as np

CYCLE_NS = 1_540_000
"""Of the exchange between driver and controller: about 650 Hz."""

LOWER = np.float32([-np.pi, 0, 0, -np.pi / 2, -np.pi / 2, -np.pi, 0]).astype(float)
UPPER = np.float32([np.pi, np.pi, 0.75 * np.pi, np.pi / 2, np.pi / 2, np.pi, 0.04]).astype(float)
VELOCITY = np.float32([2 * np.pi] * 3 + [3 * np.pi] * 3 + [0.25]).astype(float)
FOLDED = np.array([0.0, -0.002, 0.003, 0.01, 0.0, 0.0, -0.0001])
"""Where an arm lies that has been switched off on its stops; it reads a little beyond zero."""

RAISED = np.array([0.1, 1.0, 0.5, 0.6, 0.0, 0.0, 0.02])


class Clock:
    """Moves when somebody sleeps, or a test says so."""

    def __init__(self):
        self.t_ns = 1_000_000_000_000

    def now_ns(self):
        return self.t_ns

    def sleep_until(self, t_ns, wake_fd=None):
        self.t_ns = max(self.t_ns, t_ns)
        return False

    def advance(self, seconds):
        self.t_ns += round(seconds * 1e9)


class Model(enum.Enum):
    wxai_v0 = 0
    vxai_v0_right = 1
    vxai_v0_left = 2


class Mode(enum.Enum):
    idle = 0
    position = 1
    velocity = 2
    external_effort = 3
    effort = 4


ERROR_WORDS = (
    ("none", "No error"),
    ("ethernet_init_failed", "Controller's Ethernet manager failed to initialize"),
    ("can_init_failed", "Controller's CAN interface failed to initialize"),
    ("joint_command_failed", "Controller's CAN interface failed to send a message"),
    ("joint_feedback_failed", "Controller's CAN interface failed to receive a message"),
    ("joint_clear_error_failed", "Joint clear error command failed"),
    ("joint_enable_failed", "Joint enable command failed"),
    ("joint_disable_failed", "Joint disable command failed"),
    ("joint_set_home_failed", "Joint home calibration command failed"),
    ("joint_disabled_unexpectedly", "Joint disabled unexpectedly"),
    ("joint_overheated", "Joint overheated"),
    ("invalid_mode", "Invalid mode command received"),
    ("invalid_robot_command", "Invalid robot command indicator received"),
    ("invalid_configuration_address", "Invalid configuration address"),
    ("robot_input_mode_mismatch", "Robot input with modes different than configured modes received"),
    ("joint_limit_exceeded", "Joint limit exceeded"),
    ("robot_input_infinite", "Robot input with infinite values received"),
)
ErrorState = enum.IntEnum("ErrorState", [(name, code) for code, (name, _) in enumerate(ERROR_WORDS)])


class ArmRuntimeError(RuntimeError):
    """trossen_arm.RuntimeError"""


class ArmLogicError(AssertionError):
    """trossen_arm.LogicError"""


class VectorDouble(list):
    """A vector of floats, made of anything iterable."""

    def __init__(self, values=()):
        super().__init__(map(float, values))


class EndEffector:
    def __init__(self, mass=0.67244176):
        self.palm = SimpleNamespace(mass=mass)
        self.finger_left = self.finger_right = SimpleNamespace(mass=0.07283511)
        self.offset_finger_left, self.offset_finger_right = 0.02449818, -0.0245
        self.pitch_circle_radius, self.t_flange_tool = 0.00875, [0.156062, 0, 0, 0, 0, 0]


class StandardEndEffector:
    wxai_v0_follower = EndEffector()
    wxai_v0_leader = EndEffector(0.6541194)
    wxai_v0_base = EndEffector(0.55984146)


class Controller:
    """One arm. What a test sets: powered, link, owner, booted_s, error, model, firmware, limits, q, hot, tool."""

    def __init__(self, clock, ip, q=FOLDED):
        self.clock, self.ip = clock, ip
        self.model, self.firmware = Model.wxai_v0, "1.11.1"
        self.powered = self.link = True
        self.owner = None
        self.ready_ns = 0
        self.error = ErrorState.none
        self.log = ""
        self.q, self.qd = np.array(q, dtype=float), np.zeros(7)
        self.effort, self.external_effort = np.linspace(0.5, 1.1, 7), np.linspace(0.01, 0.07, 7)
        self.rotor, self.electronics = np.full(7, 30.0), np.full(7, 33.0)
        self.lower, self.upper, self.velocity = LOWER.copy(), UPPER.copy(), VELOCITY.copy()
        self.modes = [Mode.idle] * 7
        self.tool = None
        self.held_by_hand = np.zeros(7, dtype=bool)
        self.cleared = 0
        self.path = []
        """Every position that was measured while a driver had the arm."""

    def fail(self, error, log=""):
        """Brake: what the firmware does on every error."""
        self.error, self.log = ErrorState(error), log
        self.modes, self.qd = [Mode.idle] * 7, np.zeros(7)

    def cycle(self, setpoint, dt_s):
        """One exchange: the set-point in, the joints on their way to it, checked."""
        if self.modes[0] is Mode.position and setpoint is not None:
            if not np.isfinite(setpoint).all():
                return self.fail(ErrorState.robot_input_infinite)
            wrong = (setpoint > self.upper) | (setpoint < self.lower)
            if wrong.any():
                return self.fail(ErrorState.joint_limit_exceeded, f"Joint {wrong.argmax()} beyond its limit")
            before = self.q.copy()
            step = np.where(self.held_by_hand, 0.0, setpoint - self.q) * min(1.0, dt_s / 0.01)
            self.q = self.q + step
            self.qd = (self.q - before) / dt_s
            fast = np.abs(self.qd) > self.velocity
            if fast.any():
                return self.fail(ErrorState.joint_limit_exceeded, f"Joint {fast.argmax()} too fast")
        self.path.append(self.q.copy())
        return None


class Network:
    """The arms by address, and how they answer."""

    def __init__(self, clock):
        self.clock = clock
        self.arms = {}

    def add(self, ip, q=FOLDED):
        self.arms[ip] = Controller(self.clock, ip, q)
        return self.arms[ip]


def sdk(network, driver_version="1.11.0"):
    """The package: a namespace whose driver is wired to this network."""
    clock = network.clock

    class TrossenArmDriver:
        def __init__(self):
            self._arm = None
            self._configured = False
            self._running = False
            self._stored = None
            self._setpoint = self._start = self._goal = None
            self._plan = (0, 1.0)
            self.calls = []
            network.drivers = [*getattr(network, "drivers", []), self]

        @staticmethod
        def discover(subnet, ip_start=1, ip_end=254, timeout=0.01):
            found = [network.arms.get(f"{subnet}.{host}") for host in range(ip_start, ip_end + 1)]
            answering = [arm for arm in found if arm and arm.powered and arm.link and arm.owner is None]
            answering = [arm for arm in answering if clock.now_ns() >= arm.ready_ns]
            if not answering:
                clock.advance(timeout)
            return [
                SimpleNamespace(ip=arm.ip, model=arm.model, firmware_version=arm.firmware, error_state=arm.error)
                for arm in answering
            ]

        def configure(self, model, end_effector, serv_ip, clear_error, timeout=20.0):
            self.calls.append("configure")
            if self._configured:
                raise ArmLogicError("Trossen Arm driver cannot be configured again as it is already configured")
            if not isinstance(model, Model) or not isinstance(end_effector, EndEffector):
                raise TypeError("configure(): incompatible function arguments.")
            arm = network.arms.get(serv_ip)
            ready_ns = arm.ready_ns if arm else 0
            in_time = ready_ns - clock.now_ns() < timeout * 1e9
            if not (arm and arm.powered and arm.link and arm.owner is None and in_time):
                clock.advance(timeout)
                where = f"{serv_ip}:50001 within {timeout:g} seconds"
                raise ArmRuntimeError(f"Failed to connect to the arm controller's TCP server at {where}" + SIGNPOST)
            clock.sleep_until(ready_ns)
            if arm.firmware.split(".")[:2] != driver_version.split(".")[:2]:
                raise ArmRuntimeError("The major and minor versions of the driver and controller firmware must match.")
            if arm.model is not model:
                raise ArmRuntimeError(f"Model mismatch: expected {model.name}, got {arm.model.name}")
            if arm.error and not clear_error:
                raise ArmRuntimeError(self._told(arm))
            if clear_error:
                arm.error, arm.cleared = ErrorState.none, arm.cleared + 1
            arm.owner, arm.modes, self._arm = self, [Mode.idle] * 7, arm
            arm.tool = arm.tool or end_effector
            self._configured = self._running = True
            self._mode = Mode.idle
            self._begun_ns = self._cycled_ns = clock.now_ns()
            self._number, self._stored = 1, None
            self._take_state()

        def cleanup(self, reboot_controller=False):
            self.calls.append("cleanup")
            if self._arm is not None and self._arm.owner is self:
                self._arm.owner = None
                self._arm.modes, self._arm.qd = [Mode.idle] * 7, np.zeros(7)
            self._configured = self._running = False

        def clear_error(self):
            raise AssertionError("nobody clears an error by program")

        def get_is_configured(self):
            return self._configured

        def get_driver_version(self):
            return driver_version if self._configured else ""

        def get_controller_version(self):
            return self._arm.firmware if self._configured else ""

        def get_error_information(self):
            self._enter()
            return ERROR_WORDS[self._arm.error][1]

        def get_num_joints(self):
            return 7

        def get_modes(self):
            self._enter()
            return list(self._arm.modes)

        def get_end_effector(self):
            self._enter()
            return self._arm.tool

        def get_joint_limits(self):
            self._enter()
            arm = self._arm
            return [
                SimpleNamespace(position_min=low, position_max=high, velocity_max=fast, velocity_tolerance=0.0)
                for low, high, fast in zip(arm.lower, arm.upper, arm.velocity, strict=True)
            ]

        def get_all_positions(self):
            if not self._configured:
                return VectorDouble()  # and no exception
            self._enter()
            return VectorDouble(self._state[2])

        def get_robot_output(self):
            if not self._configured:
                return _output(0, 0, *[()] * 6)
            self._enter()
            return _output(*self._state)

        def set_all_modes(self, mode=Mode.idle):
            if not isinstance(mode, Mode):
                raise TypeError("set_all_modes(): incompatible function arguments.")
            self.calls.append(f"mode {mode.name}")
            self._enter()
            self._arm.modes, self._mode = [mode] * 7, mode
            held = np.clip(self._arm.q, self._arm.lower, self._arm.upper)
            self._start = self._goal = held
            self._plan = (clock.now_ns(), 1e-3)

        def set_all_positions(
            self,
            goal_positions,
            goal_time=2.0,
            blocking=True,
            goal_feedforward_velocities=None,
            goal_feedforward_accelerations=None,
        ):
            self._enter()
            for vector in (goal_positions, goal_feedforward_velocities):
                if vector is not None and not isinstance(vector, VectorDouble | list | tuple):
                    raise TypeError("set_all_positions(): incompatible function arguments.")
                if vector is not None and len(vector) != 7:
                    raise ArmLogicError(f"Invalid goal positions size: expected 7, got {len(vector)}")
            if goal_time < 0:
                raise ArmLogicError(f"Invalid goal time: expected non-negative, got {goal_time}")
            if self._mode is not Mode.position:
                raise ArmLogicError(f"Requested to set joint 0 position but it is in mode {self._mode.name}")
            self.calls.append((np.array(goal_positions), goal_time, goal_feedforward_velocities))
            self._start, self._goal = self._at(clock.now_ns()), np.array(goal_positions)
            self._plan = (clock.now_ns(), goal_time)
            if blocking:
                clock.advance(goal_time)

        # ---- what the driver's own thread does, made up for at the next call ------------------------------

        def _enter(self):
            if not self._configured:
                raise ArmLogicError("This TrossenArmDriver is not configured" + SIGNPOST)
            self._catch_up()
            if self._stored is not None:
                stored, self._stored = self._stored, None
                raise stored

        def _catch_up(self):
            arm = self._arm
            while self._running and self._cycled_ns + CYCLE_NS <= clock.now_ns():
                self._cycled_ns += CYCLE_NS
                if not arm.link or not arm.powered:
                    arm.modes = [Mode.idle] * 7  # it notices as well, and brakes
                    continue
                if not arm.error:
                    arm.cycle(None if self._goal is None else self._at(self._cycled_ns), CYCLE_NS * 1e-9)
                if arm.error:
                    self._stored, self._running = ArmRuntimeError(self._told(arm)), False
                self._number += 1
                self._take_state()

        def _take_state(self):
            arm = self._arm
            stamp_us = (self._cycled_ns - self._begun_ns) // 1000
            self._state = (
                self._number,
                stamp_us,
                arm.q.copy(),
                arm.qd.copy(),
                arm.effort + 1e-9 * (self._number % 7),  # no two readings are the same
                arm.external_effort,
                arm.rotor,
                arm.electronics,
            )

        def _at(self, t_ns):
            """The set-point: a step up to 1 ms, a line up to 0.2 s, else a quintic that begins and ends at rest."""
            begun_ns, time_s = self._plan
            share = 1.0 if time_s <= 1e-3 else min((t_ns - begun_ns) * 1e-9 / time_s, 1.0)
            if time_s > 0.2:
                share = share**3 * (10 + share * (6 * share - 15))
            return self._start + share * (self._goal - self._start)

        def _told(self, arm):
            log = f" Latest log on the arm controller since powered on: {arm.log}" if arm.log else ""
            return f"Error occurred: {ERROR_WORDS[arm.error][1]}{log}" + SIGNPOST

    return SimpleNamespace(
        TrossenArmDriver=TrossenArmDriver,
        Model=Model,
        Mode=Mode,
        ErrorState=ErrorState,
        EndEffector=EndEffector,
        StandardEndEffector=StandardEndEffector,
        VectorDouble=VectorDouble,
        RuntimeError=ArmRuntimeError,
        LogicError=ArmLogicError,
        ERROR_INFORMATION={ErrorState(code): words for code, (_, words) in enumerate(ERROR_WORDS)},
        MODEL_NAME={model: model.name for model in Model},
    )


SIGNPOST = "\nPlease refer to our troubleshooting guide"


def _output(number, stamp_us, q, qd, effort, external_effort, rotor, electronics):
    joints = SimpleNamespace(
        positions=VectorDouble(q),
        velocities=VectorDouble(qd),
        efforts=VectorDouble(effort),
        external_efforts=VectorDouble(external_effort),
        rotor_temperatures=VectorDouble(rotor),
        driver_temperatures=VectorDouble(electronics),
    )
    return SimpleNamespace(
        header=SimpleNamespace(id=number, timestamp=stamp_us), joint=SimpleNamespace(all=joints)
    )
