"""`pi0-controller`: the daemon, in the foreground. Imports little at the top: every child imports this file."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from controller.exits import DaemonExit

if TYPE_CHECKING:
    from controller.config import Config
    from controller.systemd import Manager

log = logging.getLogger("controller")


def parser() -> argparse.ArgumentParser:
    """What the command takes; shell completions are made from it."""
    parser = argparse.ArgumentParser(
        prog="pi0-controller",
        description="The robot's controller daemon.",
        epilog="pi0-controller import-lerobot FILE: write the configuration of a kit that LeRobot's FILE describes",
    )
    parser.add_argument("--config", required=True, help="a TOML file, or a shipped one: sim, trossen_stationary")
    parser.add_argument("--socket", type=Path, help="operator's unix socket (default: daemon.socket)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the daemon until it is told to end. Returns the exit code."""
    if (argv or sys.argv[1:])[:1] == ["import-lerobot"]:
        from controller.import_lerobot import main as import_lerobot

        return import_lerobot((argv or sys.argv[1:])[1:])
    from controller.logs import complain, set_up_logging
    from controller.systemd import Manager, one_line

    arguments = parser().parse_args(argv)
    manager = Manager()
    path, config, reason = _configuration(arguments.config)
    if config is None:
        complain(reason)
        manager.tell(f"STATUS={one_line(reason)}")
        return DaemonExit.CONFIG
    set_up_logging(config.daemon.log_level, "supervisor", in_thread=True)
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # no thread pool of a library in any child
    return asyncio.run(_run(config, path, arguments.socket, manager))


def _configuration(named: str) -> tuple[Path, Config | None, str]:
    """The file, and what it says or why that cannot be used on this machine."""
    from controller import open_files
    from controller.config import ConfigError
    from controller.config_use import path_of, usable

    path = Path(named)
    if reason := open_files.shortage():
        return path, None, reason
    try:
        path = path_of(named)
        return path, usable(path), ""
    except ConfigError as error:
        return path, None, str(error)


async def _run(config: Config, path: Path, socket: Path | None, manager: Manager) -> int:
    from controller import api, realtime
    from controller.paths import default_socket
    from controller.status import VERSION
    from controller.supervisor import Supervisor
    from controller.unix_socket import Claim, SocketError, SocketInUse
    from shm import ShmError, sweep

    if socket is None:
        socket = Path(config.daemon.socket) if config.daemon.socket else default_socket()
    log.info("pi0-controller %s starts: configuration %s, robot %s", VERSION, path, config.robot.kind)
    rights = config.realtime
    awake, awake_text = realtime.hold_cpu_awake() if rights.cpu_dma_latency else (None, "")
    try:
        claim = Claim(socket, group=config.daemon.group)  # a second daemon ends here
    except SocketError as error:
        return _refused(manager, error, DaemonExit.FAILED if isinstance(error, SocketInUse) else DaemonExit.CONFIG)
    if left := sweep():
        log.info("removed shared memory of a daemon that is gone: %s", ", ".join(left))
    try:
        supervisor = Supervisor(config, str(path), manager)
    except ShmError as error:
        claim.release()
        return _refused(manager, error, DaemonExit.FAILED)
    runner = await api.serve(supervisor, claim)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.close)
    terminal = sys.stdin is not None and sys.stdin.isatty()  # whose end is the daemon's, too
    loop.add_signal_handler(signal.SIGHUP, supervisor.close if terminal else supervisor.reloading.hang_up)
    try:
        report = realtime.enter(rights.supervisor_priority, False, None, rights.required)
        supervisor.realtime = f"{report}, {awake_text}" if awake_text else str(report)
        log.info("supervisor up on %s: %s", socket, supervisor.realtime)
        await supervisor.run_until_ended()
    except realtime.RealtimeRefused as error:
        return _refused(manager, error, DaemonExit.CONFIG)
    finally:
        await runner.cleanup()
        supervisor.owned.close()
        if awake is not None:
            os.close(awake)
    log.info("ended")
    return DaemonExit.DONE


def _refused(manager: Manager, error: Exception, code: DaemonExit) -> DaemonExit:
    """The administrator's matter, not a bug: said in the log and in `systemctl status`."""
    from controller.systemd import one_line

    log.error("%s", error)
    manager.tell(f"STATUS={one_line(str(error))}")
    return code


if __name__ == "__main__":
    sys.exit(main())
