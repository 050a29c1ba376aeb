"""Two ways to follow a policy, on the virtual world's clock: ours, and the stock openpi-client runtime.

Ours is the controller's own planner, follower, pacing, remainder and delay estimate, wired as its processes are. The
stock one is `openpi_client`'s Runtime, PolicyAgent and ActionChunkBroker as published, with its clock replaced;
the robot's driver interpolates its goals linearly over one period, as the arms' own driver does with short goal times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from openpi_client.action_chunk_broker import ActionChunkBroker
from openpi_client.base_policy import BasePolicy
from openpi_client.runtime import runtime as stock_runtime
from openpi_client.runtime.agents.policy_agent import PolicyAgent
from openpi_client.runtime.environment import Environment

from bench.virtual_world import World
from controller import layout
from controller.answers import Acceptance, actions_from
from controller.config import Config
from controller.delays import ExpectedDelay
from controller.follower import Command, Follower
from controller.pacing import Pacing, followed
from controller.plan_record import fill
from controller.planner import Permit, Planner
from controller.remainder import Delivered
from controller.robots.base import N_JOINTS, JointState, Vector
from controller.run_options import RunOptions, Seam
from controller.settings import gate, planner_settings
from controller.states import State
from controller.timeline import Chunk
from policy_server.policy import ObservationError, Session

CONTROL_NS = 20_000_000
STOCK_HZ = 50.0
STOCK_HORIZON = 25
"""Of openpi's example for a real two-armed robot."""


class EpisodeOver(Exception):
    """The time is up while a client waits, or the server answers with an error, which ends a connection."""


@dataclass(frozen=True)
class Answering:
    """How a server answers: `delay_s()` from request to answer; None: that answer is lost."""

    delay_s: Callable[[], float | None]
    session: Session

    def ask(self, world: World, observation: dict[str, Any]) -> tuple[int | None, Vector]:
        """When the answer comes (None: never), and its actions."""
        try:
            actions = np.asarray(self.session.infer(observation)["actions"])
        except ObservationError as error:
            raise EpisodeOver(f"the policy refused: {str(error).split(',')[0]}") from error
        delay_s = self.delay_s()
        return (None if delay_s is None else world.t_ns + round(delay_s * 1e9)), actions


def observation_of(world: World, q: Vector) -> dict[str, Any]:
    """What both clients show the policy, but for what only ours adds."""
    return {"state": q, "environment_state": world.robot.environment, "prompt": "go"}


class Ours:
    """The controller in virtual time. `stall_ticks` counts control ticks of the run without a plan to follow."""

    def __init__(self, world: World, server: Answering, config: Config, options: RunOptions) -> None:
        self.world, self.server, self.options, self.config = world, server, options, config
        self.planner = Planner(planner_settings(config))
        self.follower = Follower(gate(config), world.state.q)
        self.stall_ticks = 0
        self._refused = ""
        self._acceptance = Acceptance.of(config)
        self._pacing, self._delivered = Pacing(), Delivered()
        self._delay = ExpectedDelay(config.policy.delay_quantile)
        self._plan = np.zeros((), layout.PLAN)
        self._permit = Permit(State.IDLE.code, 0, 2**62)
        self._command: Command | None = None
        self._numbers = 0
        self._chunk_id = 0
        self._under_way: list[tuple[int | None, int, Chunk]] = []
        self._overdue_s = 0.0
        world.tick = self._motor

    @property
    def fault(self) -> str:
        for fault in (self.planner.fault, self.follower.fault):
            if fault is not None:
                return f"{fault[0].name.lower()}: {fault[1]}"
        return self._refused

    def run(self, until: Callable[[], bool], timeout_s: float) -> bool:
        """Follow the policy; True once `until` says so, False at a fault or when the time is up."""
        world, end_ns = self.world, self.world.t_ns + round(timeout_s * 1e9)
        world.advance_to(world.t_ns + CONTROL_NS)  # the motor process holds before anything begins
        self._request(1)
        world.advance_to(self._under_way[0][0] or end_ns)
        self._deliver(1)
        self._permit = Permit(State.RUNNING.code, 1, 2**62, seam=self.options.seam, speed=self.options.speed)
        control_ns, frame_ns = world.t_ns, world.next_frame_ns()
        while world.t_ns < end_ns and not self.fault:
            answer_ns = min((t_ns for t_ns, *_ in self._under_way if t_ns is not None), default=end_ns)
            world.advance_to(min(control_ns, frame_ns, answer_ns, end_ns))
            if world.t_ns >= answer_ns:
                self._deliver(1)
                self._control()  # an answer wakes it
            if world.t_ns >= control_ns:
                control_ns += CONTROL_NS
                stalled = self._control()
                self.stall_ticks += stalled
                if until():
                    return True
            if world.t_ns >= frame_ns:
                frame_ns = world.next_frame_ns()
                if self._due():
                    try:
                        self._request(1)
                    except EpisodeOver as error:
                        self._refused = str(error)
        return False

    def _due(self) -> bool:
        """One request is under way at a time; one that is overdue is given up for a new one."""
        if self._under_way and self.world.now_s < self._overdue_s:
            return False
        fill(self._plan, self.world.t_ns, self.planner)
        plan = followed(self._plan, self.config.control.speed_ramp_s)
        return self._pacing.due(self.world.t_ns, plan, self.options.execution_horizon)

    def _request(self, motion_id: int) -> None:
        t_observation_ns, q = self.world.frame()
        observation = observation_of(self.world, q)
        fill(self._plan, self.world.t_ns, self.planner)
        plan = followed(self._plan, self.config.control.speed_ramp_s)
        observation["observation_age_s"] = (self.world.t_ns - t_observation_ns) * 1e-9
        observation["playback_s"] = max(plan.playback.at(t_observation_ns), 0) * 1e-9 if plan is not None else 0.0
        if self.options.seam is Seam.RTC and plan is not None:
            rest = self._delivered.remainder(plan, t_observation_ns, self._delay.seconds, None)
            if rest is not None:
                observation["rtc"] = {"actions": rest.actions, "delay_steps": rest.delay_steps}
        t_answer_ns, actions = self.server.ask(self.world, observation)
        self._chunk_id += 1
        accepted = actions_from({"actions": actions}, self._acceptance, STOCK_HZ)
        chunk = Chunk(self._chunk_id, t_observation_ns, STOCK_HZ, accepted)
        self._under_way.append((t_answer_ns, motion_id, chunk))
        self._overdue_s = self.world.now_s + self._delay.overdue_s

    def _deliver(self, motion_id: int) -> None:
        come = [row for row in self._under_way if row[0] is not None and row[0] <= self.world.t_ns]
        for row in come:
            _, _, chunk = row
            self._under_way = [other for other in self._under_way if other[2].chunk_id > chunk.chunk_id]
            if chunk.chunk_id > 1:
                self._delay.add((self.world.t_ns - chunk.t0_ns) * 1e-9)
            self._delivered.remember(chunk.chunk_id, chunk.actions)
            self._pacing.delivered(chunk.chunk_id, self.world.t_ns)
            self.planner.receive(self.world.t_ns, motion_id, chunk, None)
            self.world.account.take(self.world.t_ns, chunk.actions, chunk.rate_hz)

    def _control(self) -> bool:
        step = self.planner.step(self.world.t_ns, self._permit, self.follower.q.copy(), self.world.state.q)
        if step is None:
            return False
        self._numbers += 1
        self._command = Command(self._numbers, self.planner.motion_id, step.piece)
        return step.stalled

    def _motor(self, state: JointState) -> tuple[Vector, Vector]:
        self.follower.step(self.world.t_ns, self._permit, self._command, state.q)
        return self.follower.q, self.follower.qd


class _Waiting(BasePolicy):
    """What the stock client's websocket policy is to its caller: a call that blocks until the answer is there."""

    def __init__(self, world: World, server: Answering, end_ns: int) -> None:
        self._world, self._server, self._end_ns = world, server, end_ns

    def infer(self, obs: dict[str, Any]) -> dict[str, Any]:
        t_answer_ns, actions = self._server.ask(self._world, obs)
        if t_answer_ns is None or t_answer_ns > self._end_ns:
            self._world.advance_to(self._end_ns)  # it waits for ever: the stock client has no time-out
            raise EpisodeOver("no answer, and no time-out")
        self._world.advance_to(t_answer_ns)
        self._world.account.take(t_answer_ns, actions, STOCK_HZ)
        return {"actions": actions}

    def reset(self) -> None:
        pass


class _StockRobot(Environment):
    """The simulated kit as the stock runtime's environment."""

    def __init__(self, world: World, until: Callable[[], bool], end_ns: int) -> None:
        self._world, self._until, self._end_ns = world, until, end_ns
        self._from = self._goal = world.state.q.copy()
        self._t_goal_ns = world.t_ns
        self.applied_ns: list[int] = []
        self.done = False
        world.tick = self._driver

    def reset(self) -> None:
        pass

    def is_episode_complete(self) -> bool:
        self.done = self._until()
        return self.done or self._world.t_ns >= self._end_ns

    def get_observation(self) -> dict[str, Any]:
        return observation_of(self._world, self._world.state.q)

    def apply_action(self, action: dict[str, Any]) -> None:
        self._from, self._goal = self._at(self._world.t_ns), np.asarray(action["actions"])
        self._t_goal_ns = self._world.t_ns
        self.applied_ns.append(self._world.t_ns)

    def _at(self, t_ns: int) -> Vector:
        x = min((t_ns - self._t_goal_ns) * 1e-9 * STOCK_HZ, 1.0)
        reached: Vector = self._from + x * (self._goal - self._from)
        return reached

    def _driver(self, _state: JointState) -> tuple[Vector, Vector]:
        return self._at(self._world.t_ns), np.zeros(N_JOINTS)


class Stock:
    """The stock runtime in virtual time. `stall_ticks`: periods of 20 ms in which no new action was applied."""

    def __init__(self, world: World, server: Answering) -> None:
        self.world, self.server, self.stall_ticks = world, server, 0
        self.fault = ""

    def run(self, until: Callable[[], bool], timeout_s: float) -> bool:
        """Follow the policy; True once `until` says so, False when the time is up."""
        world, end_ns = self.world, self.world.t_ns + round(timeout_s * 1e9)
        robot = _StockRobot(world, until, end_ns)
        broker = ActionChunkBroker(_Waiting(world, self.server, end_ns), STOCK_HORIZON)
        clock = SimpleNamespace(
            time=lambda: world.now_s, sleep=lambda dt_s: world.advance_to(world.t_ns + round(dt_s * 1e9))
        )
        real, stock_runtime.time = stock_runtime.time, clock  # type: ignore[attr-defined]
        try:
            stock_runtime.Runtime(robot, PolicyAgent(broker), [], max_hz=STOCK_HZ).run()
        except EpisodeOver as error:
            self.fault = str(error)
        finally:
            stock_runtime.time = real  # type: ignore[attr-defined]
        gaps = np.diff([*robot.applied_ns, world.t_ns]) * 1e-9 * STOCK_HZ
        self.stall_ticks = int(np.maximum(np.ceil(gaps - 1.25), 0.0).sum())
        return robot.done
