"""The command `pi0-policy-server serve`: one policy behind a port until SIGTERM or SIGINT.

Runs in the main thread. Always holds: what cannot work is refused in one line, and before a model is loaded where that
can be known; the port opens once the model is loaded; a signal ends the process even if the policy hangs.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import gc
import ipaddress
import logging
import os
import signal
import ssl
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from socket import socket

from policy_server.access import check_host, credential, is_loopback, read_api_key, tls_context
from policy_server.exits import Exit
from policy_server.heap import keep_large_blocks
from policy_server.latency import uniform_latency
from policy_server.policy import Policy
from policy_server.server import MAX_CLIENTS, PolicyServer
from policy_server.service import Service
from policy_server.systemd import Manager, in_journal


def cache_directory(environ: Mapping[str, str]) -> Path:
    """Where compiled programs are kept unless told: systemd's CacheDirectory=, else the user's cache."""
    if own := environ.get("CACHE_DIRECTORY"):
        return Path(own.split(":")[0], "compiled")
    return Path(environ.get("XDG_CACHE_HOME") or "~/.cache", "pi0-controller", "compiled")


CACHE = cache_directory(os.environ)

_MODEL_OPTIONS = ("checkpoint", "dtype", "num_steps", "no_rtc", "compile_cache")

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--config", metavar="NAME|TOML", help="serve a model; `pi0-policy-server configs` lists names")
    which.add_argument("--policy", choices=["scripted", "bimodal"], help="serve a policy that needs no model")
    seed_help = "of a policy's noise (a model's is 0 by default) and of the jitter"
    parser.add_argument("--seed", type=_within(0, 2**63 - 1), metavar="N", help=seed_help)
    model = parser.add_argument_group("with --config").add_argument
    model("--checkpoint", type=Path, metavar="DIR", help="one step of openpi's training: params/ and assets/")
    model("--dtype", choices=["bfloat16", "float32"], help="of weights and computation (bfloat16)")
    model("--num-steps", type=_within(1, 100), metavar="N", help="from noise to actions (10)")
    model("--no-rtc", action="store_true", default=None, help="do not offer real-time chunking; warms up faster")
    model("--compile-cache", type=Path, metavar="DIR", help=f"keeps compiled programs for the next start ({CACHE})")
    model("--no-compile-cache", dest="compile_cache", action="store_false", default=None, help="compile at every start")
    network = parser.add_argument_group("network").add_argument
    network("--host", default="127.0.0.1", help="address to listen on; beyond loopback, say who may come in")
    network("--port", type=_within(0, 65535), default=8000, help="0 takes any free port and prints it")
    key_help = "one line: the key that clients must send ($CREDENTIALS_DIRECTORY/api-key where that file exists)"
    network("--api-key-file", type=Path, metavar="FILE", help=key_help)
    network("--no-auth", action="store_true", help="let in whoever reaches the port")
    network("--tls-cert", type=Path, metavar="PEM", help="serve wss:// with this certificate")
    network("--tls-key", type=Path, metavar="PEM", help="the certificate's key")
    network("--max-clients", type=_within(1, 1000), default=MAX_CLIENTS, metavar="N", help="at a time (%(default)s)")
    network("--send-tracebacks", action="store_true", help="show clients the whole error")
    trial = parser.add_argument_group("trial").add_argument
    trial("--latency-ms", type=float, default=0.0, metavar="MS", help="answer no sooner than this")
    trial("--latency-jitter-ms", type=float, default=0.0, metavar="MS", help="vary the latency by up to this")


def run(arguments: argparse.Namespace) -> int:
    """Run the command. Returns the exit status."""
    service = Service(Manager())
    status, reason = _run(arguments, service)
    if reason:
        service.refused(reason)
        refuse(reason)
    return status


def _run(arguments: argparse.Namespace, service: Service) -> tuple[Exit, str]:
    """The exit status, and why the server did not start or go on."""
    keep_large_blocks()
    try:
        latency = uniform_latency(arguments.latency_ms / 1e3, arguments.latency_jitter_ms / 1e3, arguments.seed)
        _check_model_options(arguments)
        cache = _compile_cache(arguments)
        tls, api_key = _access(arguments)
    except ValueError as error:
        return Exit.CONFIG, str(error)
    except OSError as error:
        return Exit.FAILED, _why_not_listening(error, arguments.host, arguments.port)
    try:
        policy = _load(arguments, cache, service)
    except (ValueError, OSError, RuntimeError, AssertionError) as error:
        if isinstance(error, OSError) or (isinstance(error, ValueError) and type(error) is not ValueError):
            return Exit.CONFIG, str(error)  # a subclass of ours
        if (reason := _why_no_device(error)) is None:
            raise  # a bug, which wants its traceback
        return Exit.FAILED, reason
    server = PolicyServer(
        policy,
        latency=latency,
        send_tracebacks=arguments.send_tracebacks,
        max_clients=arguments.max_clients,
        api_key=api_key,
        say=service.step,
    )
    try:
        failure = asyncio.run(_serve(server, arguments.host, arguments.port, tls, service))
    except OSError as error:
        failure = _why_not_listening(error, arguments.host, arguments.port)
    if not server.close(patience_s=1.0):
        _abandon(server)
    return (Exit.FAILED, failure) if failure else (Exit.DONE, "")


def refuse(reason: str) -> int:
    """Say why a command cannot do its work. Returns its exit status."""
    if in_journal():
        log.error("%s", reason)
    else:
        print(f"pi0-policy-server: {reason}", file=sys.stderr)
    return Exit.FAILED


def _within(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is not in {low}..{high}")
        return value

    return number


def _check_model_options(arguments: argparse.Namespace) -> None:
    given = [name for name in _MODEL_OPTIONS if getattr(arguments, name) is not None]
    if arguments.config is None and given:
        raise ValueError(f"--{given[0].replace('_', '-')} is for a model; give --config instead of --policy")
    if arguments.config is not None and arguments.checkpoint is None:
        raise ValueError("--config needs --checkpoint DIR, one step of openpi's training")


def _access(arguments: argparse.Namespace) -> tuple[ssl.SSLContext | None, str | None]:
    """What the transport and the clients must prove. Raises AccessError; OSError where the host is not known."""
    key_file = arguments.api_key_file or credential("api-key")
    check_host(arguments.host, has_key=key_file is not None, no_auth=arguments.no_auth)
    return tls_context(arguments.tls_cert, arguments.tls_key), None if key_file is None else read_api_key(key_file)


def _compile_cache(arguments: argparse.Namespace) -> Path | None:
    """Where compiled programs are kept; None for nowhere. Raises ValueError."""
    if arguments.config is None or arguments.compile_cache is False:
        return None
    directory: Path = arguments.compile_cache or CACHE
    try:
        return directory.expanduser()
    except RuntimeError as error:
        raise ValueError(
            f"cannot keep compiled programs in {directory}: no such home directory is known; "
            "set HOME, or give --compile-cache DIR or --no-compile-cache"
        ) from error


def _load(arguments: argparse.Namespace, cache: Path | None, service: Service) -> Policy:
    if arguments.policy == "bimodal":
        from policy_server.bimodal import BimodalPolicy

        return BimodalPolicy(seed=arguments.seed)
    if arguments.policy == "scripted":
        from policy_server.scripted import ScriptedPolicy

        return ScriptedPolicy(seed=arguments.seed)
    from policy_server.pi0 import load_policy

    def say(text: str) -> None:
        log.info("event=loading text=%r", text)
        service.step(text)

    seed = arguments.seed or 0  # openpi's; what a policy answers can be had again
    service.step(f"loading {arguments.checkpoint}")
    log.info("event=loading config=%s checkpoint=%s seed=%d", arguments.config, arguments.checkpoint, seed)
    return load_policy(
        arguments.config,
        arguments.checkpoint,
        dtype=arguments.dtype or "bfloat16",
        num_steps=arguments.num_steps or 10,
        seed=seed,
        rtc=not arguments.no_rtc,
        compile_cache=cache,
        say=say,
    )


async def _serve(
    server: PolicyServer, host: str, port: int, tls: ssl.SSLContext | None, service: Service
) -> str | None:
    """Serve until a signal (None) or until the warm-up fails (why)."""
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    async with server.listen(host, port, tls) as listener:
        for sock in listener.sockets:
            _announce(server, sock, tls is not None)
        warm, stopped = asyncio.create_task(server.warm()), asyncio.create_task(stop.wait())
        reporting = asyncio.create_task(_report(server, service))
        await asyncio.wait((warm, stopped), return_when=asyncio.FIRST_COMPLETED)
        if warm.done() and (error := warm.exception()) is not None:
            if (reason := _why_no_device(error)) is not None:
                return reason
            log.error("event=warm-up-failed", exc_info=error)
            return f"the policy cannot warm up: {type(error).__name__}: {error}"
        if warm.done():
            gc.collect()
            gc.freeze()  # what is alive now stays: no collection need walk through it again
            gc.collect()  # counts what is left, a quarter of which more begins the next full collection
        await stopped
        log.info("event=stopping")
        reporting.cancel()
        service.stopping()
    return None


async def _report(server: PolicyServer, service: Service) -> None:
    while True:
        service.look(warm=server.is_warm, doing=server.doing, busy_s=server.busy_s)
        await asyncio.sleep(service.period_s)


def _why_no_device(error: BaseException) -> str | None:
    """What the user can do about the model's device, if `error` comes from that."""
    jax = sys.modules.get("jax")
    if jax is None:
        return None
    if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error):
        return (
            f"the device has no memory left ({str(error).splitlines()[0]}); "
            "end what else runs there (nvidia-smi lists it); --dtype float32 takes twice the memory of bfloat16"
        )
    try:
        jax.local_devices()
    except (RuntimeError, AssertionError) as again:  # JAX asserts, without a word, that it has found one
        platforms = os.environ.get("JAX_PLATFORMS")
        asked = f" with JAX_PLATFORMS={platforms}; unset it, or" if platforms else ";"
        return f"JAX finds no device{f' ({again})' if str(again) else ''}{asked} see Install in docs/policy-server.md"
    return None


def _announce(server: PolicyServer, sock: socket, tls: bool) -> None:
    host, port = sock.getsockname()[:2]
    if not is_loopback(host) and not server.has_key:
        log.warning("event=exposed host=%s warning='no authentication: whoever reaches it can use the policy'", host)
    elif not is_loopback(host) and not tls:
        log.warning("event=exposed host=%s warning='the key crosses the network unencrypted: see --tls-cert'", host)
    name = f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    print(f"listening on {'wss' if tls else 'ws'}://{name}:{port} policy={server.info.policy}", flush=True)


def _why_not_listening(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use; stop what listens there or choose another --port"
    return f"cannot listen on {host}:{port}: {error.strerror or error}"


def _abandon(server: PolicyServer) -> None:
    """End the process with its worker in a call that does not return: a stop in order only while it warms up."""
    log.warning("event=abandoned reason='the policy is still %s'", "inferring" if server.is_warm else "warming up")
    logging.shutdown()
    sys.stdout.flush()
    os._exit(1 if server.is_warm else 0)
