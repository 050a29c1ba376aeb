"""The comparison once more in real time: the real daemon and the stock client, each against the real policy server.

    python -m bench.closed_loop_live --delays-ms 0 100 200

What `bench.closed_loop` works out on a clock of its own is here played by the programs themselves, over websockets, on
this machine: ours is `python -m controller.demo`, cameras, guard and recorder included; the stock one is
openpi-client's Runtime, ActionChunkBroker and WebsocketClientPolicy with the simulated kit in a thread, and blank
pictures. One episode of the lighter task each. Its figures depend on the machine and on what else it does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from openpi_client.action_chunk_broker import ActionChunkBroker
from openpi_client.base_policy import BasePolicy
from openpi_client.runtime import runtime as stock_runtime
from openpi_client.runtime.agents.policy_agent import PolicyAgent
from openpi_client.runtime.environment import Environment
from openpi_client.websocket_client_policy import WebsocketClientPolicy

from bench.closed_loop import METHODS, STOCK, LighterTask, home
from bench.closed_loop_report import as_markdown
from bench.virtual_clients import STOCK_HORIZON, STOCK_HZ, observation_of
from bench.virtual_world import MOTOR_NS, Account, World
from controller.follower import Mode
from controller.limits import commands
from controller.recording import Recording, chunks_of, ticks_of
from controller.robots.base import N_JOINTS, JointState, Vector

SEED = 1
TILE = np.zeros((3, 224, 224), np.uint8)
CAMERAS = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")


def ours(method: str, delay_ms: float, directory: Path) -> dict[str, Any]:
    """One episode of the demo, judged by what it recorded."""
    command = [sys.executable, "-m", "controller.demo", "--headless", "--seed", str(SEED), "--seam", method]
    command += ["--latency-ms", str(delay_ms), "--latency-jitter-ms", "0", "--runs-dir", str(directory)]
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    run_directory = (directory / "latest").resolve()
    report = json.loads((run_directory / "report.json").read_text(encoding="utf-8"))
    run = next(r for path in run_directory.glob("recordings/*run*") if (r := Recording.load(path)).is_run)
    own = run.joints[(run.joints["motion_id"] == run.motion_id) & (run.joints["mode"] == Mode.FOLLOW)]
    rows = commands(own[own["t_command_ns"] > 0])
    account = Account(list(rows["t_command_ns"]), list(rows["q_command"]), list(rows["q"]))
    for chunk in run.chunks[np.isin(run.chunks["chunk_id"], chunks_of(run)["chunk_id"])]:
        actions = chunk["actions"][: chunk["n_steps"]]
        account.take(int(chunk["t_received_ns"]), actions, float(chunk["action_rate_hz"]))
    return _row(method, delay_ms, bool(report["task_success"]), report["duration_s"], ticks_of(run), account)


def _row(method: str, delay_ms: float, success: bool, done_s: float, ticks: Any, account: Account) -> dict[str, Any]:
    stalls = int(ticks["stalled"].sum()) if isinstance(ticks, np.ndarray) else int(ticks)
    return {
        "task": "lighter, live", "jitter": 0.0, "lost": 0.0, "delay_ms": delay_ms, "method": method, "episodes": 1,
        "success": float(success), "done_s": done_s if success else None, "stall_ticks": float(stalls),
        **account.figures(),
    }  # fmt: skip


class _Kit(Environment):
    """The simulated kit, kept going at the motor rate by a thread; goals are interpolated over one period."""

    def __init__(self, world: World, task: LighterTask) -> None:
        self._world, self._task, self._lock = world, task, threading.Lock()
        self._from = self._goal = world.state.q.copy()
        self._t_goal_ns = world.t_ns
        self._ended = threading.Event()
        self._offset_ns = world.t_ns - time.monotonic_ns()
        self.applied_ns: list[int] = []
        self.deadline_ns = self.now_ns + round(LighterTask.timeout_s * 1e9)
        self.done = False
        world.tick = self._driver
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        self._thread.start()

    @property
    def now_ns(self) -> int:
        """The world's time, which goes with the wall's."""
        return time.monotonic_ns() + self._offset_ns

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _go_on(self) -> None:
        while not self._ended.wait(MOTOR_NS * 1e-9):
            with self._lock:
                self._world.advance_to(self.now_ns)

    def _at(self, t_ns: int) -> Vector:
        reached: Vector = self._from + min((t_ns - self._t_goal_ns) * 1e-9 * STOCK_HZ, 1.0) * (self._goal - self._from)
        return reached

    def _driver(self, _state: JointState) -> tuple[Vector, Vector]:
        return self._at(self._world.t_ns), np.zeros(N_JOINTS)

    def reset(self) -> None:
        pass

    def is_episode_complete(self) -> bool:
        with self._lock:
            self.done = self._task.done()
        return self.done or self.now_ns >= self.deadline_ns

    def get_observation(self) -> dict[str, Any]:
        with self._lock:
            return observation_of(self._world, self._world.state.q) | {"images": dict.fromkeys(CAMERAS, TILE)}

    def apply_action(self, action: dict[str, Any]) -> None:
        with self._lock:
            self._world.advance_to(self.now_ns)
            self._from, self._goal = self._at(self._world.t_ns), np.asarray(action["actions"])
            self._t_goal_ns = self._world.t_ns
            self.applied_ns.append(self._world.t_ns)


class _Noted(BasePolicy):
    """The stock websocket client; each answer is noted as a seam."""

    def __init__(self, client: WebsocketClientPolicy, kit: _Kit, account: Account) -> None:
        self._client, self._kit, self._account = client, kit, account

    def infer(self, obs: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._client.infer(obs)
        self._account.take(self._kit.now_ns, answer["actions"], STOCK_HZ)
        return {"actions": answer["actions"]}

    def reset(self) -> None:
        pass


def stock(delay_ms: float) -> dict[str, Any]:
    """One episode of the stock runtime."""
    command = [sys.executable, "-u", "-m", "policy_server", "serve", "--policy", "scripted", "--port", "0"]
    command += ["--latency-ms", str(delay_ms), "--seed", str(SEED)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        line = next(line for line in server.stdout if "listening on" in line)
        url = next(word for word in line.split() if word.startswith("ws://"))
        world = World(SEED, home())
        kit = _Kit(world, LighterTask(world, SEED))
        begun_ns = kit.now_ns
        policy = _Noted(WebsocketClientPolicy(url), kit, world.account)
        agent = PolicyAgent(ActionChunkBroker(policy, STOCK_HORIZON))
        stock_runtime.Runtime(kit, agent, [], max_hz=STOCK_HZ).run()
        done_s = (kit.now_ns - begun_ns) * 1e-9
        kit.end()
    finally:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(10.0)
    gaps = np.diff(kit.applied_ns) * 1e-9 * STOCK_HZ
    stalls = int(np.maximum(np.ceil(gaps - 1.25), 0.0).sum())
    return _row(STOCK, delay_ms, kit.done, done_s, stalls, world.account)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--delays-ms", nargs="+", type=float, default=[0.0, 100.0, 200.0])
    arguments = parser.parse_args(argv)
    rows = []
    for delay_ms in arguments.delays_ms:
        for method in arguments.methods:
            with TemporaryDirectory(prefix="pi0-live-") as directory:
                rows.append(stock(delay_ms) if method == STOCK else ours(method, delay_ms, Path(directory)))
            print(f"{method} at {delay_ms:g} ms: {'done' if rows[-1]['success'] else 'NOT done'}", flush=True)
    print(as_markdown(rows))


if __name__ == "__main__":
    main()
