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

import numpy as np

from controller import layout
from controller.board import OwnedBoard, camera_process, frame_ring
from controller.children import Children, Running
from controller.config import Config
from controller.events import EventBus, Subscription
from controller.faults import FAULTS, FaultCode
from controller.follower import Mode
from controller.latency import Latencies
from controller.planner import Phase
from controller.refused import Refused
from controller.states import Facts, State, StateMachine, Trigger
from controller.status import server_of, status_of
from controller.usage import Usage

RENEW_S = 0.01
REST_TIMEOUT_S = 3.0
END_TIMEOUT_S = 8.0
PARK_TIMEOUT_S = 30.0
RESET_TIMEOUT_S = 1.0

log = logging.getLogger(__name__)


class Supervisor:
    """Implements api.Operations. `run_until_ended` is the daemon's life."""

    def __init__(self, config: Config, config_path: str) -> None:
        """Raises shm.ShmError."""
        self.config, self.config_path = config, config_path
        self.realtime = "none asked"
        self.started_ns = time.monotonic_ns()
        self.owned = OwnedBoard(config)
        self.bus = EventBus()
        self.machine = StateMachine(self._changed)
        self.children = Children(config, self.owned, self._lost)
        self.usage = Usage()
        self.latencies = Latencies(self.owned.rings["handed"].reader())
        self.frame_readers = {name: self.owned.rings[frame_ring(name)].reader() for name in config.cameras}
        self.newest_frames = {name: self.owned.rings[frame_ring(name)].blank() for name in config.cameras}
        self.fault: dict[str, Any] | None = None
        self.prompt: str | None = None
        self.preparing: str | None = None
        self.motion_id = 0
        self._permit_writer = self.owned.rings["permit"].writer()
        self._permit = np.zeros((), layout.PERMIT)
        self._order_writer = self.owned.rings["link_order"].writer()
        self._event_writer = self.owned.rings["event"].writer()
        self._closing = asyncio.Event()
        self._attention = asyncio.Event()

    # ---- what an operator can ask (api.Operations) -----------------------------------------------------

    async def home(self) -> None:
        self._refuse_while_preparing()
        self._require(Trigger.HOME)
        self._begin_motion()
        self.machine.fire(Trigger.HOME, self.facts())

    async def run(self, prompt: str) -> None:
        self._refuse_while_preparing()
        self._require(Trigger.RUN)
        self._begin_motion()
        self.preparing = prompt
        try:
            self._order_link(self.motion_id, prompt)
            await self._first_chunk(self.motion_id)
            self.prompt = prompt
            self.machine.fire(Trigger.RUN, self.facts())
        except BaseException:
            self._order_link(0, "")
            raise
        finally:
            self.preparing = None

    async def stop(self) -> None:
        if self.preparing is not None:
            self.preparing = None
            self._order_link(0, "")
        elif self.machine.state in (State.HOMING, State.RUNNING):
            self.machine.fire(Trigger.STOP, self.facts())
        await self._rest()

    async def estop(self, who: str) -> None:
        self.trip(FaultCode.ESTOP, f"by {who}")

    async def reset(self) -> None:
        self._require(Trigger.RESET)
        self._permit["reset_count"] += 1
        self._write_permit()
        deadline_ns = time.monotonic_ns() + round(RESET_TIMEOUT_S * 1e9)
        while waiting := [name for name in ("motor", "control", "link") if self._must_reset(name)]:
            if time.monotonic_ns() > deadline_ns:
                raise TimeoutError(f"no reset within {RESET_TIMEOUT_S:g} s by {', '.join(waiting)}; see its log")
            await asyncio.sleep(RENEW_S)
        self.machine.fire(Trigger.RESET, self.facts())

    async def shutdown(self) -> None:
        self.close()

    def close(self) -> None:
        """Begin the orderly end."""
        self._closing.set()

    async def lay_out_scene(self, seed: int) -> None:
        if self.config.robot.kind != "sim":
            raise Refused(f"robot.kind is {self.config.robot.kind!r}: there is no scene to lay out", self.allowed())
        if self.machine.state is not State.IDLE:
            raise Refused(f"the scene is laid out in idle only, not in {self.machine.state.value}", self.allowed())
        self._permit["scene_count"] += 1
        self._permit["scene_seed"] = seed
        self._write_permit()
        self.publish("scene", f"laid out anew with seed {seed}", seed=seed)

    def status(self) -> dict[str, Any]:
        return status_of(self)

    def events(self) -> Subscription:
        return self.bus.subscribe()

    # ---- facts and guards --------------------------------------------------------------------------------

    def facts(self) -> Facts:
        """What the state machine's guards look at, as of the children's newest records."""
        return Facts(
            at_rest=self._at_rest(),
            robot_missing=self._unhealthy("motor", "control"),
            run_missing=self._run_missing(),
            reset_missing=self._reset_missing(),
        )

    def allowed(self) -> list[str]:
        return self.machine.allowed(self.facts())

    def _unhealthy(self, *names: str) -> str:
        missing = [name for name in names if not self.children[name].healthy]
        return f"not ready: {', '.join(missing)}" if missing else ""

    def _at_rest(self) -> bool:
        return int(self.children["motor"].status["mode"]) == Mode.HOLD

    def wanted_cameras(self) -> tuple[str, ...]:
        """The cameras that the connected server asked for, else those of the configuration."""
        server = server_of(self.children["link"].status)
        return tuple(server["cameras"]) if server else self.config.policy.cameras

    def _run_missing(self) -> str:
        if missing := self._unhealthy("link"):
            return missing
        link = self.children["link"].status
        if not link["connected"]:
            why = layout.text(link["error"])
            return f"no policy server at {self.config.policy.url}" + (f": {why}" if why else "")
        if missing := self._unhealthy(*(camera_process(name) for name in self.wanted_cameras())):
            return missing
        for name in self.wanted_cameras():
            status = self.children[camera_process(name)].status
            if status["measured_hz"] < 0.5 * status["rate_hz"] or not status["frames"]:
                return f"{name} delivers {status['measured_hz']:.1f} Hz, set to {status['rate_hz']:.0f} Hz"
        return ""

    def _reset_missing(self) -> str:
        if self.fault is None:
            return ""
        return self._unhealthy(*FAULTS[FaultCode[self.fault["code"].upper()]].needs)

    def _require(self, trigger: Trigger) -> None:
        if reason := self.machine.refusal(trigger, self.facts()):
            raise Refused(reason, self.allowed())

    def _refuse_while_preparing(self) -> None:
        if self.preparing is not None:
            raise Refused("a run is being prepared; stop it first", ["stop"])

    # ---- faults ------------------------------------------------------------------------------------------

    def trip(self, code: FaultCode, text: str) -> None:
        """Latch a fault and end all motion; a fault on top of a fault is only told."""
        row = FAULTS[code]
        message = f"{row.title}: {text}" if text else row.title
        if self.machine.state is State.FAULT:
            self.publish("fault_again", message, code=code.name.lower())
            return
        self.fault = {
            "code": code.name.lower(),
            "message": message,
            "cause": row.cause,
            "next_step": row.next_step,
            "state_before": self.machine.state.value,
        }
        self.machine.fire(Trigger.TRIP, self.facts())
        event = self.publish("fault", message, **self.fault)
        self.fault["time"] = event["time"]
        log.error("fault=%s %s; next: %s", code.name.lower(), message, row.next_step)

    def _lost(self, running: Running, text: str, code: FaultCode | None) -> None:
        self.publish("lost", text, process=running.row.name)
        moving = self.machine.state in (State.HOMING, State.RUNNING)
        wanted = running.row.name in ("motor", "control") or self.machine.state is State.RUNNING
        if code is FaultCode.CAMERA_LOST:
            wanted = wanted and running.row.name in map(camera_process, self.wanted_cameras())
        if code is not None and (running.row.loss_matters_idle or (moving and wanted)):
            self.trip(code, text)

    def _reported_faults(self) -> None:
        """Faults that children found themselves, for the motion that goes on now."""
        for name in ("motor", "control", "link"):
            status = self.children[name].status
            code = FaultCode(int(status["fault"]))
            if code is FaultCode.NONE or not self._has_reset(name):
                continue
            of_this_motion = int(status["fault_motion_id"]) == self.motion_id
            if of_this_motion and self.machine.state in (State.HOMING, State.RUNNING):
                self.trip(code, layout.text(status["fault_text"]))

    def _has_reset(self, name: str) -> bool:
        return bool(self.children[name].status["reset_count"] == self._permit["reset_count"])

    def _must_reset(self, name: str) -> bool:
        """A child that is being started again has nothing to forget."""
        return self.children[name].healthy and not self._has_reset(name)

    # ---- motion ------------------------------------------------------------------------------------------

    def _begin_motion(self) -> None:
        self.motion_id += 1
        self._permit["motion_id"] = self.motion_id
        self._permit["park"] = 0

    async def _first_chunk(self, motion_id: int) -> None:
        """Wait until the link has delivered a chunk for this motion. Raises Refused."""
        link = self.children["link"].status
        deadline_ns = time.monotonic_ns() + round(1e9 * self.config.policy.first_answer_timeout_s)
        while int(link["first_chunk_motion_id"]) != motion_id:
            if self.preparing is None or self.machine.state is not State.IDLE:
                raise Refused("stopped while waiting for the first actions", self.allowed())
            if link["fault"] and int(link["fault_motion_id"]) == motion_id:
                raise Refused(layout.text(link["fault_text"]), self.allowed())
            if not link["connected"] or time.monotonic_ns() > deadline_ns:
                reason = self._run_missing() or "the policy server sent no first actions in time"
                raise Refused(reason, self.allowed())
            self._attention.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._attention.wait(), 2 * RENEW_S)

    async def _rest(self) -> None:
        """Wait until the motor process holds."""
        deadline_ns = time.monotonic_ns() + round(REST_TIMEOUT_S * 1e9)
        await asyncio.sleep(2 * RENEW_S)  # one look of the motor process at the withdrawn permit
        while not self._at_rest() and time.monotonic_ns() < deadline_ns:
            await asyncio.sleep(RENEW_S)

    def _order_link(self, motion_id: int, prompt: str) -> None:
        order = np.zeros((), layout.LINK_ORDER)
        order["t_ns"], order["motion_id"], order["prompt"] = time.monotonic_ns(), motion_id, prompt.encode()
        self._order_writer.write(order)
        self.owned.board.order_wake.set()

    def _write_permit(self) -> None:
        permit, now_ns = self._permit, time.monotonic_ns()
        permit["t_ns"] = now_ns
        permit["lease_until_ns"] = now_ns + round(self.config.daemon.lease_s * 1e9)
        permit["state"] = self.machine.state.code
        self._permit_writer.write(permit)

    def _changed(self, before: State, trigger: Trigger, after: State) -> None:
        """Every change of state passes here: tell the motors first, then everybody else."""
        self._write_permit()
        if after is not State.RUNNING:
            self._order_link(0, "")
            self.prompt = None
        if trigger is Trigger.RESET:
            self.fault = None
        text = f"{before.value} -> {after.value} by {trigger.value}"
        self.publish("state", text, before=before.value, after=after.value, motion_id=self.motion_id)
        log.info("state=%s before=%s trigger=%s motion_id=%d", after.value, before.value, trigger.value, self.motion_id)

    def publish(self, kind: str, text: str, **fields: Any) -> dict[str, Any]:
        """Tell readers of the event stream, and the recorder."""
        event = self.bus.publish(kind, text, **fields)
        record = np.zeros((), layout.EVENT)
        record["t_ns"], record["kind"], record["text"] = event["t_ns"], kind.encode(), text.encode()[:400]
        self._event_writer.write(record)
        return event

    # ---- the loop ------------------------------------------------------------------------------------------

    async def run_until_ended(self) -> None:
        """Start everything, renew the lease until `shutdown`, then end everything in order."""
        loop = asyncio.get_running_loop()
        attention = self.owned.board.attention
        loop.add_reader(attention.fileno(), self._called)
        self._write_permit()
        self.children.start_all(time.monotonic_ns())
        renewing, measuring = asyncio.create_task(self._renew()), asyncio.create_task(self._measure())
        closing = asyncio.create_task(self._closing.wait())
        try:
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
        late_ns = round(0.5e9 * self.config.daemon.lease_s)
        while True:
            gap_ns = time.monotonic_ns() - int(self._permit["t_ns"])
            self._write_permit()
            if gap_ns > late_ns:
                log.warning("lease renewed late: %.0f ms after the last time", gap_ns * 1e-6)
            self._look()
            await asyncio.sleep(RENEW_S)

    def _called(self) -> None:
        self.owned.board.attention.clear()
        self._look()

    def _look(self) -> None:
        """Look at every child and draw the conclusions."""
        self.children.watch(time.monotonic_ns())
        self._reported_faults()
        control = self.children["control"].status
        arrived = int(control["phase"]) == Phase.DONE and int(control["phase_motion_id"]) == self.motion_id
        failed = control["fault"] and int(control["fault_motion_id"]) == self.motion_id
        if self.machine.state is State.HOMING and arrived and not failed:
            self.machine.fire(Trigger.ARRIVED, self.facts())
        self._attention.set()

    async def _measure(self) -> None:
        while True:
            self.latencies.drain()
            pids = [running.pid for running in self.children.all.values() if running.pid is not None]
            self.usage.sample([os.getpid(), *pids])
            await asyncio.sleep(1.0)

    async def _rest_and_park(self) -> None:
        self.publish("shutdown", "ending: brake, hold, then the children")
        await self.stop()
        if self.config.robot.park is None or not self.machine.homed:
            return
        with contextlib.suppress(Refused, TimeoutError):
            self._begin_motion()
            self._permit["park"] = 1
            self.machine.fire(Trigger.HOME, self.facts())
            async with asyncio.timeout(PARK_TIMEOUT_S):
                while self.machine.state is State.HOMING:
                    await asyncio.sleep(RENEW_S)
        await self.stop()

    async def _end_children(self, renewing: asyncio.Task[None]) -> None:
        renewing.cancel()
        self._permit["exit"] = 1
        deadline_ns = time.monotonic_ns() + round(END_TIMEOUT_S * 1e9)
        while self.children.alive() and time.monotonic_ns() < deadline_ns:
            self._write_permit()
            await asyncio.sleep(RENEW_S)
        self.children.kill()
