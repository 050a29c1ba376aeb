"""What latency does to a task: our four seams and the stock openpi-client runtime, same simulation, same server.

    python -m bench.closed_loop                        # everything: some minutes
    python -m bench.closed_loop --tasks bimodal --delays-ms 100 --episodes 40

Each episode is one simulated kit, one policy session and one client, on a clock of their own: no figure depends on how
fast or busy the machine is, and the same seed gives the same figures. Delays are from the request to its answer; with
`--jitter 0.3 --lost 0.02` each varies by up to 30 % and 2 % of the answers never come. Writes closed_loop.json,
closed_loop.md and closed_loop.png.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.closed_loop_report import as_markdown, as_result, draw
from bench.host import Host
from bench.result_files import write
from bench.virtual_clients import Answering, Ours, Stock
from bench.virtual_world import World
from controller.config import load, shipped
from controller.robots.base import Vector
from controller.run_options import RunOptions, Seam
from controller.settings import planner_settings
from controller.sim.task import lighter_in_cup
from policy_server import bimodal
from policy_server.policy import Policy
from policy_server.scripted import ScriptedPolicy

STOCK = "stock"
METHODS = (*(seam.name.lower() for seam in Seam), STOCK)
DELAYS_MS = (0.0, 50.0, 100.0, 200.0, 400.0)
GRIPPER_OPEN_M = 0.036
RELEASED_S = 0.5


@dataclass(frozen=True, slots=True)
class Case:
    """One episode: which client at which delay, on which task."""

    task: str
    method: str
    delay_ms: float
    jitter: float
    lost: float
    seed: int
    execution_horizon: int


@dataclass(frozen=True, slots=True)
class Result:
    """How it went. `why`: empty on success."""

    case: Case
    success: bool
    why: str
    done_s: float
    stall_ticks: int
    figures: dict[str, float]


class LighterTask:
    """The scripted policy puts the lighter into the cup and lets it go."""

    timeout_s = 45.0

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._since_s: float | None = None
        self.policy: Policy = ScriptedPolicy(seed=seed, clock=lambda: world.now_s)
        self.failure = ""

    def done(self) -> bool:
        """Also false for ever once `failure` says why it cannot succeed any more."""
        q, now_s = self._world.state.q, self._world.now_s
        if not (lighter_in_cup(self._world.robot.environment) and min(q[6], q[13]) > GRIPPER_OPEN_M):
            self._since_s = None
        elif self._since_s is None:
            self._since_s = now_s
        return self._since_s is not None and now_s - self._since_s > RELEASED_S


class BimodalTask:
    """The hand goes round a pillar, either way, to its goal; touching the pillar is failure."""

    timeout_s = 15.0

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self.policy: Policy = bimodal.BimodalPolicy(seed=seed)
        self.failure = ""

    def done(self) -> bool:
        """As of the measured joints."""
        place = bimodal.hand(self._world.state.q)
        if not self.failure and bimodal.in_pillar(place):
            self.failure = "ran into the pillar"
        return bool(self.failure) or bimodal.at_goal(place)


TASKS = {"lighter": LighterTask, "bimodal": BimodalTask}


def delays(case: Case) -> Callable[[], float | None]:
    """The delay of each answer, None for one that is lost."""
    random = np.random.default_rng((case.seed, round(case.delay_ms)))

    def next_delay_s() -> float | None:
        if random.random() < case.lost:
            return None
        return case.delay_ms * 1e-3 * (1.0 + case.jitter * random.uniform(-1.0, 1.0))

    return next_delay_s


def home() -> Vector:
    return planner_settings(load(shipped("sim"))).home


def play(case: Case) -> Result:
    """One episode."""
    config = load(shipped("sim"))
    world = World(case.seed, home())
    task = TASKS[case.task](world, case.seed)
    server = Answering(delays(case), task.policy.new_session())
    begun_ns = world.t_ns
    client: Ours | Stock
    if case.method == STOCK:
        client = Stock(world, server)
    else:
        options = RunOptions(Seam[case.method.upper()], execution_horizon=case.execution_horizon)
        client = Ours(world, server, config, options)
    reached = client.run(task.done, task.timeout_s)
    why = task.failure or client.fault or ("" if reached else f"not done after {task.timeout_s:g} s")
    done_s = (world.t_ns - begun_ns) * 1e-9
    return Result(case, not why, why, done_s, client.stall_ticks, world.account.figures())


def cases(arguments: argparse.Namespace) -> list[Case]:
    conditions = [(0.0, 0.0)] if arguments.clean_only else [(0.0, 0.0), (arguments.jitter, arguments.lost)]
    return [
        Case(task, method, delay_ms, jitter, lost, arguments.seed + n, arguments.execution_horizon)
        for task, (jitter, lost), delay_ms, method in itertools.product(
            arguments.tasks, conditions, arguments.delays_ms, arguments.methods
        )
        for n in range(arguments.episodes if task == "bimodal" else arguments.lighter_episodes)
    ]


def played(todo: Sequence[Case], jobs: int) -> Iterable[Result]:
    if jobs == 1:
        yield from map(play, todo)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(play, todo, chunksize=4)


def summary(results: Sequence[Result]) -> list[dict[str, Any]]:
    """One row for each task, condition, delay and method."""
    rows = []
    key = lambda r: (r.case.task, r.case.jitter, r.case.lost, r.case.delay_ms, METHODS.index(r.case.method))  # noqa: E731
    for (task, jitter, lost, delay_ms, method), group in itertools.groupby(sorted(results, key=key), key):
        own = list(group)
        done = [result.done_s for result in own if result.success]
        rows.append(
            {
                "task": task, "jitter": jitter, "lost": lost, "delay_ms": delay_ms, "method": METHODS[method],
                "episodes": len(own),
                "success": sum(result.success for result in own) / len(own),
                "done_s": float(np.median(done)) if done else None,
                "stall_ticks": float(np.mean([result.stall_ticks for result in own])),
                **{
                    name: float((np.max if "acceleration" in name or "step" in name else np.mean)(
                        [result.figures[name] for result in own]))
                    for name in own[0].figures
                },
                "failures": sorted({result.why for result in own if result.why}),
            }
        )  # fmt: skip
    return rows


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    add("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    add("--delays-ms", nargs="+", type=float, default=list(DELAYS_MS))
    add("--episodes", type=int, default=20, help="of the bimodal task, for each row (%(default)s)")
    add("--lighter-episodes", type=int, default=3, help="of the lighter task (%(default)s)")
    add("--execution-horizon", type=int, default=0, help="ours: steps of a chunk before the next request (%(default)s)")
    add("--jitter", type=float, default=0.3, help="of the second condition (%(default)s)")
    add("--lost", type=float, default=0.02, help="answers lost in the second condition (%(default)s)")
    add("--clean-only", action="store_true", help="without the second condition")
    add("--seed", type=int, default=0)
    add("--jobs", type=int, default=os.cpu_count())
    add("--out", type=Path, default=Path("runs/closed_loop"))
    add("--json", type=Path, metavar="FILE", help="write the rows there, too, as benchmarks do")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    arguments = _arguments(argv)
    host, todo, begun_s = Host(), cases(arguments), time.monotonic()
    results = []
    for result in played(todo, arguments.jobs):
        results.append(result)
        if len(results) % 20 == 0:
            print(f"{len(results)} of {len(todo)} episodes, {time.monotonic() - begun_s:.0f} s", flush=True)
    rows = summary(results)
    if arguments.json is not None:
        write(as_result(rows, host.header()), arguments.json)
    arguments.out.mkdir(parents=True, exist_ok=True)
    document = {"rows": rows, "episodes": [asdict(result) for result in results]}
    (arguments.out / "closed_loop.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    text = as_markdown(rows)
    (arguments.out / "closed_loop.md").write_text(text, encoding="utf-8")
    draw(rows, METHODS, arguments.out / "closed_loop.png")
    print(text)
    print(f"{len(todo)} episodes in {time.monotonic() - begun_s:.0f} s; written to {arguments.out}")


if __name__ == "__main__":
    main()
