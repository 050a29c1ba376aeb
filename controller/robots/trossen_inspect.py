"""Looks at the arms without moving them: what connecting insists on, and what `pi0ctl doctor` prints.

An arm that is looked at is taken, stays braked, and is let go again: it has one owner at a time, so the daemon must not
have it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from controller.config import Config
from controller.config_robot import Robot as RobotConfig
from controller.findings import Finding, Level, worst
from controller.robots import trossen_checks as checks
from controller.robots.base import RobotError
from controller.robots.trossen_driver import ArmDriver, load
from controller.robots.trossen_errors import ERRORS
from controller.robots.trossen_thread import ArmThread

CONNECT_S = 3.0
"""Who looks at the arms waits no longer for one than this: one that is switched on answers at once."""

ANSWER_S = 8.0
"""By then both arms have said or refused everything."""

RECOVERY = "then clear the error by switching the arm's controller off and on (docs/trossen.md)"


def ask(driver: ArmDriver, config: RobotConfig) -> list[Finding]:
    """What an arm says before it is taken; nothing where it does not say. A FAIL here: do not take it."""
    identity = driver.identify()
    if identity is None:
        return []
    arm, wanted = driver.arm, config.trossen.model
    found = [checks.versions(arm, driver.package_version(), identity.firmware)]
    if identity.model == wanted:
        found.append(Finding(Level.OK, f"{arm} model", identity.model))
    else:
        text = f"{identity.model}, configured is {wanted}"
        found.append(Finding(Level.FAIL, f"{arm} model", text, "check the arm's address and robot.trossen.model"))
    if not identity.error:
        return [*found, Finding(Level.OK, f"{arm} error", "none")]
    error = ERRORS.get(identity.error)
    text = f"{error.code} {error.name}: {error.meaning}" if error else f"{identity.error}, unknown to this version"
    next_step = f"{error.next_step}, {RECOVERY}" if error else RECOVERY
    return [*found, Finding(Level.FAIL, f"{arm} error", text, next_step)]


def examine(driver: ArmDriver, config: RobotConfig) -> tuple[checks.ArmLimits, list[Finding]]:
    """What is to be seen of an arm that has been taken. Raises RobotError."""
    arm, name = driver.arm, config.trossen.end_effector
    limits = driver.limits()
    state = driver.output()
    return limits, [
        checks.versions(arm, *driver.versions()),
        checks.same_tool(arm, name, *driver.tool()),
        *checks.limits(arm, config.limits, limits),
        checks.at_rest(arm, state.qd),
        checks.inside(arm, state.q, limits),
        checks.temperature(arm, state.temperature, config.trossen.warm_c),
    ]


def inspect(
    config: Config, *, sdk: Any = None, thread: Callable[[str], Executor] = ArmThread
) -> list[Finding]:
    """Both arms at once. sdk, thread: stand-ins for tests."""
    timeout_s = min(config.robot.trossen.connect_timeout_s, CONNECT_S)
    patience = config.robot.trossen.model_copy(update={"connect_timeout_s": timeout_s})
    robot = config.robot.model_copy(update={"trossen": patience})
    try:
        sdk = load() if sdk is None else sdk
    except RobotError as error:
        return [Finding(Level.FAIL, "arms", str(error), "install the extra trossen")]
    under_way = []
    for name, address in (("left", robot.left_ip), ("right", robot.right_ip)):
        driver, own = ArmDriver(sdk, f"{name} arm", address or "", robot.trossen), thread(f"{name} arm")
        under_way.append((driver, own.submit(_arm, driver, robot)))
        own.shutdown(wait=False)
    found: list[Finding] = []
    for driver, future in under_way:
        try:
            found += future.result(ANSWER_S)
        except TimeoutError:
            text = f"the driver does not return within {ANSWER_S:g} s"
            found.append(Finding(Level.FAIL, driver.arm, text, "switch the arm off and on"))
    return found


def _arm(driver: ArmDriver, config: RobotConfig) -> list[Finding]:
    """One arm, from its own thread: whatever happens, it is let go."""
    found: list[Finding] = []
    try:
        found += ask(driver, config)
        if worst(found) is not Level.FAIL:
            driver.take()
            found.append(Finding(Level.OK, f"{driver.arm} connection", "taken, braked"))
            found += examine(driver, config)[1]
    except RobotError as error:
        found.append(_failed(driver.arm, error))
    try:
        driver.leave()
    except RobotError as error:
        found.append(_failed(driver.arm, error))
    return found


def _failed(arm: str, error: RobotError) -> Finding:
    text, _, next_step = str(error).removeprefix(f"{arm}: ").rpartition("; ")
    hint = "stop the daemon if it has the arms"
    return Finding(Level.FAIL, arm, text or next_step, f"{next_step}; {hint}" if text else hint)
