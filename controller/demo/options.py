"""What a demo is to do, and what that means for the two programs that it starts. Pure but for sys."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.config import shipped
from controller.config_lerobot import SIMULATED
from controller.run_options import Seam

TOY = "pi0-toy"
POLICIES = ("scripted", TOY)
ROBOTS = ("sim", "lerobot")
TOY_NOTE = "toy policy: random parameters, its motion means nothing"


@dataclass(frozen=True, slots=True)
class Options:
    """The choices of one demo. Episode i plays in the scene of seed + i; a toy's parameters are those of seed.

    robot: sim, or lerobot: the same simulation as a robot of LeRobot's, with LeRobot installed in .venv-lerobot.
    seam, speed, execution_horizon: as `pi0ctl run` takes them; None: as the daemon does it without being asked.
    """

    prompt: str = "put the lighter into the cup"
    policy: str = "scripted"
    robot: str = "sim"
    latency_ms: float = 25.0
    latency_jitter_ms: float = 5.0
    seed: int = 0
    episodes: int = 1
    headless: bool = False
    runs_dir: Path = Path("runs")
    seam: str | None = None
    speed: float | None = None
    execution_horizon: int | None = None

    @property
    def is_toy(self) -> bool:
        return self.policy == TOY

    @property
    def run_options(self) -> dict[str, Any]:
        """What the daemon is asked for with each run, apart from the prompt."""
        asked = {"seam": self.seam, "speed": self.speed, "execution_horizon": self.execution_horizon}
        return {key: value for key, value in asked.items() if value is not None}


def toy_command(options: Options, directory: Path) -> list[str]:
    """Makes a toy checkpoint in `directory`."""
    return [sys.executable, "-m", "policy_server.toy", str(directory), "--seed", str(options.seed)]


def server_command(options: Options, toy: Path) -> list[str]:
    """The policy server on a free port of this machine. toy: directory of the toy checkpoint, if one is served."""
    what = ["--policy", options.policy]
    if options.is_toy:
        what = ["--config", str(toy / "toy.toml"), "--checkpoint", str(toy / "checkpoint")]
        if options.seam != Seam.RTC.word:  # real-time chunking takes as long again to compile
            what.append("--no-rtc")
    return [
        *(sys.executable, "-u", "-m", "policy_server", "serve", *what, "--port", "0"),
        *("--latency-ms", str(options.latency_ms), "--latency-jitter-ms", str(options.latency_jitter_ms)),
        *("--seed", str(options.seed)),
    ]


def daemon_python(options: Options) -> Path:
    """What the daemon runs on: this Python, or the one with LeRobot that scripts/setup-lerobot makes beside it."""
    if options.robot == "sim":
        return Path(sys.executable)
    return Path(sys.prefix).with_name(".venv-lerobot") / "bin" / "python"


def daemon_command(options: Options, config: Path, socket: Path) -> list[str]:
    """The controller with that configuration, commanded through that socket."""
    return [str(daemon_python(options)), "-u", "-m", "controller", "--config", str(config), "--socket", str(socket)]


def controller_toml(options: Options, server_url: str, recordings: Path) -> str:
    """The shipped simulation's configuration with this demo's server, seed and recordings."""
    table = tomllib.loads(shipped("sim").read_text(encoding="utf-8"))
    table["policy"]["url"] = server_url
    table["robot"]["seed"] = options.seed
    if options.robot == "lerobot":
        table["robot"] |= {"kind": "lerobot", "lerobot": {"type": SIMULATED, "config": {"seed": options.seed}}}
    table["recorder"]["directory"] = str(recordings)
    lines = ["# Written by the demo from the shipped sim.toml.", *_toml(table, ())]
    return "\n".join(lines) + "\n"


def _toml(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """TOML lines of numbers, words, lists and tables: as JSON, which TOML writes the same way."""
    if path:
        yield f"\n[{'.'.join(path)}]"
    for key, value in table.items():
        if not isinstance(value, Mapping):
            yield f"{key} = {json.dumps(value, ensure_ascii=False)}"
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _toml(value, (*path, key))
