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

if TYPE_CHECKING:
    from controller.config import Config
    from controller.systemd import Manager

EXIT_FAILED = 1
EXIT_CONFIG = 78
"""EX_CONFIG, also for rights that the configuration requires: starting again would not help."""

log = logging.getLogger("controller")


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="pi0-controller", description="The robot's controller daemon.")
    parser.add_argument("--config", required=True, help="a TOML file, or a shipped one: sim, trossen_stationary")
    parser.add_argument("--socket", type=Path, help="operator's unix socket (default: daemon.socket)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the daemon until it is told to end. Returns the exit code."""
    from controller import adapters, open_files
    from controller import config as configuration
    from controller.logs import set_up_logging
    from controller.systemd import Manager

    arguments = _arguments(argv)
    manager = Manager()
    path = Path(arguments.config)
    if path.suffix != ".toml" and not path.exists():
        path = configuration.shipped(arguments.config)
    try:
        config = configuration.load(path)
    except configuration.ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    if lacking := adapters.lacking(config):
        print(f"{path}: {lacking}", file=sys.stderr)
        return EXIT_CONFIG
    if lacking := open_files.shortage():
        print(lacking, file=sys.stderr)
        return EXIT_CONFIG
    set_up_logging(config.daemon.log_level, "supervisor", in_thread=True)
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # no thread pool of a library in any child
    return asyncio.run(_run(config, path, arguments.socket, manager))


async def _run(config: Config, path: Path, socket: Path | None, manager: Manager) -> int:
    from controller import api, realtime
    from controller.paths import default_socket
    from controller.supervisor import DaemonFailed, Supervisor
    from controller.unix_socket import Claim, SocketError
    from shm import ShmError, sweep

    if socket is None:
        socket = Path(config.daemon.socket) if config.daemon.socket else default_socket()
    rights = config.realtime
    awake, awake_text = realtime.hold_cpu_awake() if rights.cpu_dma_latency else (None, "")
    try:
        claim = Claim(socket, group=config.daemon.group)  # a second daemon ends here
    except SocketError as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED
    if left := sweep():
        log.info("removed shared memory of a daemon that is gone: %s", ", ".join(left))
    try:
        supervisor = Supervisor(config, str(path), manager)
    except ShmError as error:
        claim.release()
        print(error, file=sys.stderr)
        return EXIT_FAILED
    runner = await api.serve(supervisor, claim)
    try:
        report = realtime.enter(rights.supervisor_priority, False, None, rights.required)
    except realtime.RealtimeRefused as error:
        await runner.cleanup()
        supervisor.owned.close()
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    supervisor.realtime = f"{report}, {awake_text}" if awake_text else str(report)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.close)
    log.info("socket=%s config=%s robot=%s realtime=%s", socket, path, config.robot.kind, supervisor.realtime)
    try:
        await supervisor.run_until_ended()
    except DaemonFailed as error:
        log.error("%s", error)  # noqa: TRY400  the administrator's matter, not a bug
        return EXIT_CONFIG
    finally:
        await runner.cleanup()
        if awake is not None:
            os.close(awake)
    log.info("ended")
    return 0


if __name__ == "__main__":
    sys.exit(main())
