"""The link process's code in a thread, between rings that a test writes and a real policy server."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
from server_rig import PATIENCE_S, serving, until
from synthetic import sim_config

from controller import layout
from controller.board import specs
from controller.config_robot import both_arms
from controller.link import serve_until_ended
from controller.planner import Phase
from controller.run_options import Seam
from policy_server.policy import Policy, Session
from policy_server.protocol import ServerInfo
from shm import Owner, Ring, Wake

HOME = both_arms(sim_config().robot.homing.pose)
MOTION = 7


class RecordedPolicy(Policy):
    """Keeps what it is asked; answers what `actions(request)` gives."""

    def __init__(self, actions: Callable[[dict[str, Any]], Any], extensions: frozenset[str]) -> None:
        self.info = ServerInfo(cameras=("cam_high",), action_rate_hz=50.0, action_horizon=50, extensions=extensions)
        self.asked: list[dict[str, Any]] = []
        self.actions = actions

    def new_session(self) -> Session:
        return RecordedSession(self)


class RecordedSession(Session):
    def __init__(self, policy: RecordedPolicy) -> None:
        self._policy = policy

    def infer(self, observation: dict[str, Any]) -> dict[str, Any]:
        self._policy.asked.append(observation)
        return {"actions": self._policy.actions(observation)}


class Rig:
    """The child that the link is: the board, its status, its faults. The test writes what other processes would."""

    def __init__(self, port: int, **policy: Any) -> None:
        config = sim_config()
        changes = {"url": f"ws://127.0.0.1:{port}"} | policy
        self.config = config.model_copy(update={"policy": config.policy.model_copy(update=changes)})
        owner = Owner.current()
        self.rings = {spec.name: Ring.create(owner, spec) for spec in specs(self.config)}
        self.writers = {name: ring.writer() for name, ring in self.rings.items() if name != "chunk"}
        self.board = SimpleNamespace(
            frame_wake=Wake(), chunk_wake=Wake(), order_wake=Wake(), attention=Wake(), plan_wake=Wake()
        )
        self.status = np.zeros((), layout.LINK_STATUS)
        self.faults: list[tuple[Any, str, int]] = []
        self.should_end = False
        self._chunks = self.rings["chunk"].reader()

    # what controller.child.Child offers

    def open(self, name: str) -> Ring:
        return self.rings[name]

    def read_permit(self) -> None: ...

    def beat(self, now_ns: int) -> None: ...

    def trip(self, now_ns: int, code: Any, text: str, motion_id: int) -> None:
        self.faults.append((code, text, motion_id))

    # what the other processes write

    def order(self, motion_id: int = MOTION, seam: Seam = Seam.BLEND, execution_horizon: int = 0) -> None:
        record = np.zeros((), layout.LINK_ORDER)
        record["motion_id"], record["prompt"] = motion_id, b"go"
        record["seam"], record["execution_horizon"] = seam, execution_horizon
        self.writers["link_order"].write(record)
        self.board.order_wake.set()

    def plan(self, chunk_id: int, tau0_s: float = 0.0, begun_s: float = 0.0, speed: float = 1.0, **more: Any) -> None:
        """Control follows this chunk since begun_s ago, at a constant speed."""
        record = np.zeros((), layout.PLAN)
        now_ns = time.monotonic_ns()
        record["t_ns"], record["motion_id"], record["phase"] = now_ns, MOTION, Phase.FOLLOW
        record["t_play_ns"], record["play_from"], record["play_to"] = now_ns - round(begun_s * 1e9), speed, speed
        record["chunk_id"], record["tau0_ns"], record["action_rate_hz"] = chunk_id, round(tau0_s * 1e9), 50.0
        for name, value in more.items():
            record[name] = value
        self.writers["plan"].write(record)

    def see(self, q: np.ndarray = HOME) -> int:
        """A frame of the camera, and the joints at its exposure. Returns their instant."""
        joints, frame = self.rings["joints"].blank(), self.rings["frames.cam_high"].blank()
        now_ns = time.monotonic_ns()
        joints["t_ns"], joints["q"] = now_ns, q
        self.writers["joints"].write(joints)
        frame["t_exposure_ns"] = frame["t_arrival_ns"] = frame["t_ready_ns"] = now_ns
        frame["rate_hz"] = 30.0
        self.writers["frames.cam_high"].write(frame)
        self.board.frame_wake.set()
        return now_ns

    def chunk(self) -> np.ndarray:
        """The newest chunk that was delivered."""
        record = np.zeros((), layout.CHUNK)
        self._chunks.newest(record)
        return record

    def exchange(self, q: np.ndarray = HOME) -> np.ndarray:
        """One frame, one request, one chunk."""
        answers = int(self.status["answers"])
        self.see(q)
        until(lambda: self.status["answers"] > answers)
        until(lambda: self.faults or self.rings["chunk"].count > answers)
        return self.chunk()


@contextmanager
def linked(policy: Policy, **changes: Any) -> Iterator[Rig]:
    """A link that is connected to a server of this policy."""
    with serving(policy) as port:
        rig = Rig(port, **changes)
        thread = threading.Thread(target=lambda: asyncio.run(serve_until_ended(rig)))
        thread.start()
        try:
            until(lambda: rig.status["connected"])
            yield rig
        finally:
            rig.should_end = True
            thread.join(PATIENCE_S)
            for ring in rig.rings.values():
                ring.close()
                ring.unlink()
            assert not thread.is_alive()
