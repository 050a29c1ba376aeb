"""`pi0ctl doctor`. Imported by pi0ctl's parser, so it imports the doctor itself only when it is called."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from controller.client import Client, DaemonUnreachable, Status
from controller.exits import Exit
from controller.waiting import complain

if TYPE_CHECKING:
    from controller.config import Config

LOOK_S = 2.0

Add = Callable[[str, Callable[..., Exit], float, str], argparse.ArgumentParser]


def add_to(add: Add) -> None:
    """Add the command to pi0ctl's parser."""
    doctor = add("doctor", _doctor, LOOK_S, "look at machine, network, server, cameras and arms; nothing moves")
    doctor.add_argument(
        "--config", metavar="FILE", help="a TOML file, sim or trossen_stationary (default: the running daemon's)"
    )
    doctor.add_argument("--server", metavar="URL", help="another policy server than policy.url")
    doctor.add_argument(
        "--infer", action="store_true", help="ask the policy server for five answers too: others wait meanwhile"
    )
    doctor.add_argument("--json", action="store_true", help="as JSON")


def _doctor(client: Client, arguments: argparse.Namespace) -> Exit:
    status = _status(client, arguments.timeout)
    try:
        config, path = _config(arguments, status)
    except ValueError as error:  # a ConfigError is one
        complain(str(error))
        return Exit.USAGE
    from rich.console import Console

    from controller.doctor.examine import timed
    from controller.doctor.report import all_of, described, shown, verdict
    from controller.findings import Level, worst

    if arguments.json:
        sections, _ = timed(config, status, infer=arguments.infer)
        print(json.dumps(described(sections, path), indent=2))
    else:
        console = Console(highlight=False)
        with Console(file=sys.stderr).status("looking, 5 s for the cameras; nothing moves"):
            sections, took_s = timed(config, status, infer=arguments.infer)
        console.print(f"{path}\n", shown(sections), verdict(sections, took_s), sep="\n")
    return Exit.REFUSED if worst(all_of(sections)) is Level.FAIL else Exit.DONE


def _status(client: Client, timeout_s: float) -> Status | None:
    """Of the daemon that runs, None where none does. Raises what says that one may run all the same."""
    try:
        return client.status(timeout_s)
    except DaemonUnreachable as error:
        if isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError):
            return None
        raise


def _config(arguments: argparse.Namespace, status: Status | None) -> tuple[Config, str]:
    """What is looked at, and its name. Raises ValueError."""
    from controller.config import load
    from controller.config_use import path_of

    told = arguments.config or (status or {}).get("config")
    if not told:
        raise ValueError("no daemon runs that could tell its configuration: say --config FILE")
    path = path_of(told)
    config = load(path)
    if arguments.server is not None:
        policy = type(config.policy).model_validate(config.policy.model_dump() | {"url": arguments.server})
        config = config.model_copy(update={"policy": policy})
    return config, str(path)
