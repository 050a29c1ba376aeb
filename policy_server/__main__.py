"""The command `pi0-policy-server`: serve one policy until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import errno
import ipaddress
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from socket import socket

from policy_server.heap import keep_large_blocks
from policy_server.latency import uniform_latency
from policy_server.policy import Policy
from policy_server.server import PolicyServer

log = logging.getLogger(__name__)


def _scripted(arguments: argparse.Namespace) -> Policy:
    from policy_server.scripted import ScriptedPolicy

    return ScriptedPolicy(seed=arguments.seed)


POLICIES: dict[str, Callable[[argparse.Namespace], Policy]] = {"scripted": _scripted}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status: 0 after a signal, 1 when the server cannot start."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="level=%(levelname)s logger=%(name)s %(message)s")
    logging.getLogger("websockets").setLevel(logging.WARNING)
    keep_large_blocks()
    try:
        latency = uniform_latency(arguments.latency_ms / 1e3, arguments.latency_jitter_ms / 1e3, arguments.seed)
    except ValueError as error:
        return _refuse(str(error))
    policy = POLICIES[arguments.policy](arguments)
    server = PolicyServer(policy, latency=latency, send_tracebacks=arguments.send_tracebacks)
    try:
        asyncio.run(_serve(server, arguments.host, arguments.port))
    except OSError as error:
        return _refuse(_why_not_listening(error, arguments.host, arguments.port))
    finally:
        server.close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pi0-policy-server", description="Serve a robot policy over openpi's websocket protocol."
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    serve = commands.add_parser("serve", help="serve one policy")
    serve.add_argument("--policy", choices=sorted(POLICIES), required=True)
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on; there is no authentication")
    serve.add_argument("--port", type=_port, default=8000, help="0 takes any free port and prints it")
    serve.add_argument("--latency-ms", type=float, default=0.0, help="answer no sooner than this")
    serve.add_argument("--latency-jitter-ms", type=float, default=0.0, help="vary the latency by up to this")
    serve.add_argument("--seed", type=int, help="makes the policy and the jitter repeatable")
    serve.add_argument("--send-tracebacks", action="store_true", help="show clients the whole error")
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is not in 0..65535")
    return port


async def _serve(server: PolicyServer, host: str, port: int) -> None:
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    async with server.listen(host, port) as listener:
        for sock in listener.sockets:
            _announce(server, sock)
        await stop.wait()
        log.info("event=stopping")


def _announce(server: PolicyServer, sock: socket) -> None:
    host, port = sock.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if not address.is_loopback:
        log.warning("event=exposed host=%s warning='no authentication: whoever reaches it can use the policy'", host)
    name = f"[{host}]" if address.version == 6 else host
    print(f"listening on ws://{name}:{port} policy={server.info.policy}", flush=True)


def _why_not_listening(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use; stop what listens there or choose another --port"
    return f"cannot listen on {host}:{port}: {error.strerror or error}"


def _refuse(reason: str) -> int:
    print(f"pi0-policy-server: {reason}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
