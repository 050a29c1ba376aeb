"""The supervisor: the one owner of the state, of the permission to move, and of all child processes.

Runs in the daemon's main process, one asyncio loop. Every few milliseconds it renews the lease and looks at every
child; if it hangs or dies, the lease ends and motion with it. It never touches the arms itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from typing import Any

from controller import layout
from controller.announcer import Announcer
from controller.board import OwnedBoard, camera_process
from controller.children import Children, Running
from controller.chronicle import Chronicle
from controller.config import Config
from controller.events import EventBus, Subscription
from controller.fault_matrix import LOOK_S, trips
from controller.faults import FAULTS, FaultCode
from controller.input_watch import InputWatch
from controller.jog import Jog
from controller.latency import Latencies
from controller.logs import fields
from controller.orders import Orders
from controller.planner import Phase
from controller.pose_moves import PoseMoves
from controller.readiness import Readiness
from controller.realtime import RealtimeRefused
from controller.refused import Refused
from controller.reload import Reload
from controller.run_options import RunOptions, Seam
from controller.runs import Runs
from controller.states import Facts, State, StateMachine, Trigger
from controller.status import status_of
from controller.status_line import StatusLine
from controller.story import Story
from controller.systemd import Manager
from controller.usage import Usage

RENEW_S = LOOK_S
REST_TIMEOUT_S = 3.0
SETTLE_S = 0.3
END_TIMEOUT_S = 8.0
PARK_TIMEOUT_S = 30.0
RESET_TIMEOUT_S = 1.0

log = logging.getLogger(__name__)


class Supervisor:
    """Implements api.Operations. `run_until_ended` is the daemon's life."""

    def __init__(self, config: Config, config_path: str, manager: Manager) -> None:
        """manager: is told how the daemon does. Raises shm.ShmError."""
        self.config, self.config_path = config, config_path
        self.realtime = "none asked"
        self.started_ns = time.monotonic_ns()
        self.owned = OwnedBoard(config)
        self.bus = EventBus()
        self.machine = StateMachine(self._changed)
        self.children = Children(config, self.owned, self._lost)
        self.inputs = InputWatch(config, self.children, self.owned)
        self.ready = Readiness(config, self.children, self.inputs)
        self.usage = Usage()
        self.latencies = Latencies(self.owned.rings["handed"].reader())
        self.fault: dict[str, Any] | None = None
        self.orders = Orders(self.owned, config.daemon.lease_s)
        self.orders.log_at(config.daemon.log_level)
        self.runs, self.poses, self.reloading = Runs(self), PoseMoves(self), Reload(self)
        self.chronicle, self.story = Chronicle(self.owned), Story(self)
        self.announcer = Announcer(manager, StatusLine(self))
        self._closing = asyncio.Event()
        self._hurry = self._was_ready = False
        self._trips = self._stops = 0
        self.attention = asyncio.Event()
        """Set whenever the children were looked at."""

    # ---- what an operator can ask (api.Operations) -----------------------------------------------------

    async def home(self, speed: float) -> None:
        await self.poses.home(speed)

    async def jog(self, jog: Jog, speed: float) -> None:
        await self.poses.jog(jog, speed)

    async def run(self, prompt: str, options: RunOptions) -> None:
        await self.runs.begin(prompt, options)

    async def adjust(self, speed: float | None, seam: Seam | None) -> None:
        self.runs.adjust(speed, seam)

    def usual_options(self) -> RunOptions:
        control, policy = self.config.control, self.config.policy
        return RunOptions(control.seam_method, execution_horizon=policy.execution_horizon)

    async def stop(self) -> None:
        asked_ns = time.monotonic_ns()
        self._stops += 1
        if self.runs.preparing is not None:
            self.runs.end()
        elif self.machine.state in (State.HOMING, State.RUNNING):
            self.machine.fire(Trigger.STOP)
        await self._rest(asked_ns)

    async def estop(self, who: str) -> None:
        self.trip(FaultCode.ESTOP, f"by {who}")

    async def reset(self) -> None:
        self.require(Trigger.RESET)
        trips = self._trips
        self.orders.reset()
        deadline_ns = time.monotonic_ns() + round(RESET_TIMEOUT_S * 1e9)
        while waiting := [name for name in (*self.ready.robot, "link") if self._must_reset(name)]:
            if time.monotonic_ns() > deadline_ns:
                raise TimeoutError(f"no reset within {RESET_TIMEOUT_S:g} s by {', '.join(waiting)}; see its log")
            await asyncio.sleep(RENEW_S)
        if self._trips != trips:
            raise Refused("another fault came meanwhile; see pi0ctl status", self.allowed())
        self.machine.fire(Trigger.RESET, self.facts())

    async def shutdown(self) -> None:
        self.close()

    async def reload(self, who: str) -> tuple[str, ...]:
        return await self.reloading.run(who)

    def close(self) -> None:
        """Begin the orderly end; asked a second time, do without parking."""
        if self._closing.is_set():
            self._hurry = True
        self._closing.set()

    async def lay_out_scene(self, seed: int) -> None:
        if not self.config.robot.is_simulated:
            raise Refused(f"robot.kind is {self.config.robot.kind!r}: there is no scene to lay out", self.allowed())
        await self.settle()
        reason = self.busy() or self.ready.missing("motor")
        if self.machine.state is not State.IDLE or reason or not self.ready.at_rest():
            raise Refused(reason or "the scene is laid out in idle only, with the arms at rest", self.allowed())
        self.orders.lay_out_scene(seed)
        self.publish("scene", f"laid out anew with seed {seed}", seed=seed)

    def status(self) -> dict[str, Any]:
        return status_of(self)

    def events(self) -> Subscription:
        return self.bus.subscribe()

    # ---- facts and guards --------------------------------------------------------------------------------

    def facts(self, *, dry: bool = False) -> Facts:
        """What the state machine's guards look at, as of the children's newest records."""
        return Facts(
            at_rest=self.ready.at_rest(),
            robot_missing=self.ready.missing_robot(),
            run_missing=self.ready.missing_for_run(),
            dry=dry,
        )

    def allowed(self) -> list[str]:
        return ["stop"] if self.busy() else self.machine.allowed(self.facts())

    def busy(self) -> str:
        """Why nothing new may begin, whatever the state; empty when it may."""
        if self._closing.is_set():
            return "the daemon is ending"
        if self.reloading.under_way:
            return "the configuration is being read again"
        return "a run is being prepared; stop it first" if self.runs.preparing is not None else ""

    def refusal(self, trigger: Trigger, facts: Facts) -> str:
        """Why an operator's trigger is refused now; empty when it is allowed. `stop` never is."""
        if trigger is Trigger.STOP:
            return ""
        return self.busy() or self.machine.refusal(trigger, facts)

    def require(self, trigger: Trigger, *, dry: bool = False) -> None:
        """Raises Refused where the trigger is refused now. dry: it is for a dry run."""
        if reason := self.refusal(trigger, self.facts(dry=dry)):
            raise Refused(reason, self.allowed())

    # ---- faults ------------------------------------------------------------------------------------------

    def trip(self, code: FaultCode, text: str) -> None:
        """Latch a fault and end all motion. On top of one, a first emergency stop takes its place; others are told."""
        row = FAULTS[code]
        message = f"{row.title}: {text}" if text else row.title
        self._trips += 1
        latched = self.machine.state is State.FAULT
        if latched and (code is not FaultCode.ESTOP or (self.fault and self.fault["code"] == "estop")):
            self.publish("fault_again", message, code=code.name.lower())
            log.warning("on top of a fault: %s", message, extra=fields(fault=code.name.lower()))
            return
        before = self.fault["state_before"] if latched and self.fault else self.machine.state.value
        prompt = self.runs.playing.prompt if self.runs.playing else ""
        self.fault = {
            "code": code.name.lower(),
            "message": message,
            "cause": row.cause,
            "next_step": row.next_step,
            "state_before": before,
        }
        if not latched:
            self.machine.fire(Trigger.TRIP)
        event = self.publish("fault", message, **self.fault)
        self.fault["time"] = event["time"]
        self.chronicle.fault(event, self.orders.motion_id, prompt)
        name = code.name.lower()
        told = fields(fault=name, state=State.FAULT.value, before=before, motion_id=self.orders.motion_id)
        log.error("fault %s: %s; cause: %s; next: %s", name, message, row.cause, row.next_step, extra=told)

    def _lost(self, running: Running, text: str, code: FaultCode | None) -> None:
        self.publish("lost", text, process=running.row.name)
        if code is FaultCode.CAMERA_LOST and running.row.name not in map(camera_process, self.inputs.wanted_cameras()):
            return
        if code is not None and trips(code, self.machine.state):
            self.trip(code, text)

    def _reported_faults(self) -> None:
        """Faults that children found themselves, for the motion that goes on now."""
        for name in (*self.ready.robot, "link"):
            status = self.children[name].status
            code = FaultCode(int(status["fault"]))
            if code is FaultCode.NONE or not self._has_reset(name):
                continue
            of_this_motion = int(status["fault_motion_id"]) == self.orders.motion_id
            if of_this_motion and trips(code, self.machine.state):
                self.trip(code, layout.text(status["fault_text"]))

    def _has_reset(self, name: str) -> bool:
        return bool(self.children[name].status["reset_count"] == self.orders.reset_count)

    def _must_reset(self, name: str) -> bool:
        return self.children[name].healthy and not self._has_reset(name)  # one started anew has nothing to forget

    # ---- motion ------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """The motor process shows a tick or two late that a motion has ended: wait for that, but no longer.

        Raises Refused if somebody stops meanwhile: who is told that the arms are at rest shall find them so.
        """
        stops, deadline_ns = self._stops, time.monotonic_ns() + round(SETTLE_S * 1e9)
        while self.machine.state is State.IDLE and not self.ready.at_rest() and time.monotonic_ns() < deadline_ns:
            await asyncio.sleep(RENEW_S)
        if self._stops != stops:
            raise Refused("stopped before it began", self.allowed())

    async def _rest(self, asked_ns: int) -> None:
        """Wait until the motor process, having seen what was ordered at asked_ns, holds. Raises TimeoutError."""
        seen_ns = asked_ns + round(2e9 / self.config.robot.rate_hz)
        deadline_ns = time.monotonic_ns() + round(REST_TIMEOUT_S * 1e9)
        while not self.ready.at_rest(seen_ns):
            if time.monotonic_ns() > deadline_ns:
                raise TimeoutError(
                    f"the motor process does not say that the arms are at rest, {REST_TIMEOUT_S:g} s after the stop; "
                    "watch them, use their own emergency stop"
                )
            await asyncio.sleep(RENEW_S)

    def _changed(self, before: State, trigger: Trigger, after: State) -> None:
        """Every change of state passes here: tell the motors first, then everybody else."""
        self.orders.renew(self.machine.state.code)
        if after is not State.RUNNING:
            self.runs.end()
        if trigger is Trigger.RESET:
            self.fault = None
        text = f"{before.value} -> {after.value} by {trigger.value}"
        self.publish("state", text, before=before.value, after=after.value, motion_id=self.orders.motion_id)
        self.story.changed(before, trigger, after)

    def publish(self, kind: str, text: str, **fields: Any) -> dict[str, Any]:
        """Tell readers of the event stream, and the recorder."""
        event = self.bus.publish(kind, text, **fields)
        self.chronicle.event(event)
        return event

    # ---- the loop ------------------------------------------------------------------------------------------

    async def run_until_ended(self) -> None:
        """Start everything, renew the lease until `shutdown`, then end everything in order. Raises RealtimeRefused."""
        loop = asyncio.get_running_loop()
        attention = self.owned.board.attention
        loop.add_reader(attention.fileno(), self._called)
        renewing, measuring = asyncio.create_task(self._renew()), asyncio.create_task(self._measure())
        closing = asyncio.create_task(self._closing.wait())
        try:
            self.status()  # what it imports and allocates at the first call is there before anything moves
            self.children.start_all(time.monotonic_ns())
            tasks: set[asyncio.Task[Any]] = {renewing, measuring, closing}
            for task in (await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED))[0]:
                task.result()
            await self._rest_and_park()
        finally:
            measuring.cancel()
            closing.cancel()
            await self._end_children(renewing)
            loop.remove_reader(attention.fileno())
            self.owned.close()

    async def _renew(self) -> None:
        self.orders.renew(self.machine.state.code)
        while True:
            gap_s = self.orders.age_s()
            self.orders.renew()
            if gap_s > 0.5 * self.config.daemon.lease_s:
                log.warning("lease renewed late: %.0f ms after the last time", gap_s * 1e3)
            self._look()
            if self.children.fatal:
                raise RealtimeRefused(self.children.fatal)
            self._announce()
            await asyncio.sleep(RENEW_S)

    def _called(self) -> None:
        self.owned.board.attention.clear()
        self._look()

    def _look(self) -> None:
        """Look at every child and draw the conclusions."""
        self.children.watch(time.monotonic_ns())
        self._reported_faults()
        if (found := self.inputs.look(time.monotonic_ns())) and trips(found[0], self.machine.state):
            self.trip(*found)
        moving = self.machine.state in (State.HOMING, State.RUNNING)
        if behind := self.ready.guard_behind(time.monotonic_ns(), moving * self.orders.motion_id):
            self.trip(FaultCode.GUARD_LOST, behind)
        control = self.children["control"].status
        arrived = int(control["phase"]) == Phase.DONE and int(control["phase_motion_id"]) == self.orders.motion_id
        failed = control["fault"] and int(control["fault_motion_id"]) == self.orders.motion_id
        if self.machine.state is State.HOMING and arrived and not failed:
            self.machine.fire(Trigger.ARRIVED)
        self.attention.set()

    def _announce(self) -> None:
        """Tell the service manager. The operator's socket answers already: this runs in its loop."""
        now_ns, ready = time.monotonic_ns(), self.children.all_came_up()
        if ready and not self._was_ready:
            self._was_ready = True
            log.info("ready, %.1f s after the start", (now_ns - self.started_ns) * 1e-9)
        ready = ready and not self.reloading.under_way
        self.announcer.look(now_ns, ready=ready, stuck=self.children.stuck(self.ready.robot, now_ns))

    async def _measure(self) -> None:
        while True:
            pids = [running.pid for running in self.children.all.values() if running.pid is not None]
            try:
                self.latencies.drain()
                self.usage.sample([os.getpid(), *pids])
            except Exception:
                log.exception("statistics are missing")  # and nothing else is: they stop no motion
            await asyncio.sleep(1.0)

    async def _rest_and_park(self) -> None:
        """Come to rest. Park only from a homed idle: who ends a run does not ask for another motion."""
        self.announcer.stopping()
        try:
            await self.settle()
            reason = self.machine.refusal(Trigger.HOME, self.facts())
        except Refused as refused:
            reason = str(refused)
        at_home = self.machine.homed and self.runs.preparing is None and not reason
        park = self.config.robot.park is not None and at_home
        if park:
            self.announcer.extend(PARK_TIMEOUT_S + REST_TIMEOUT_S + END_TIMEOUT_S)
        text = "ending: " + ("park, hold" if park else "brake, hold") + ", then the children"
        log.info("%s", text)
        self.publish("shutdown", text)
        with contextlib.suppress(TimeoutError):
            if park:
                self.poses.park()
                async with asyncio.timeout(PARK_TIMEOUT_S):
                    while self.machine.state is State.HOMING and not self._hurry:
                        await asyncio.sleep(RENEW_S)
        try:
            await self.stop()
        except TimeoutError as error:
            log.error("%s", error)  # noqa: TRY400  told to the operator, not a bug

    async def _end_children(self, renewing: asyncio.Task[None]) -> None:
        renewing.cancel()
        self.orders.end()
        deadline_ns = time.monotonic_ns() + round(END_TIMEOUT_S * 1e9)
        while self.children.alive() and time.monotonic_ns() < deadline_ns:
            self.orders.renew()
            self._announce()
            await asyncio.sleep(RENEW_S)
        self.children.kill()
