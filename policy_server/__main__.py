"""The command `pi0-policy-server`: serve a policy, inspect a checkpoint, compute statistics, list configurations.

Always holds: only the chosen command's module is loaded, so serving the scripted policy needs no optional package.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Protocol

from policy_server.systemd import JOURNAL, Journal, in_journal


class _Command(Protocol):
    """What the module of a command has."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, arguments: argparse.Namespace) -> int: ...


class _Configs:
    """Lists the shipped configurations."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        pass

    def run(self, arguments: argparse.Namespace) -> int:
        from policy_server.config import load_config, shipped_configs

        names = shipped_configs()
        width = max(map(len, names))
        for name in names:
            print(f"{name:{width}}  {load_config(name).description}")
        return 0


def _serve() -> _Command:
    from policy_server import serve

    return serve


def _inspect() -> _Command:
    from policy_server import inspection

    return inspection


def _norm_stats() -> _Command:
    from policy_server import norm_stats

    return norm_stats


COMMANDS: dict[str, tuple[Callable[[], _Command], str]] = {
    "serve": (_serve, "serve one policy over openpi's websocket protocol"),
    "inspect": (_inspect, "say what a checkpoint is, what fits it and what is odd about it"),
    "norm-stats": (_norm_stats, "compute the statistics of a LeRobot data set, in openpi's format"),
    "configs": (_Configs, "list the configurations that come with the package"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status: 0 when it did its work, 1 when it cannot, 2 for wrong usage; of `serve`
    also 78 (`exits`)."""
    argv = sys.argv[1:] if argv is None else list(argv)
    line = "time=%(asctime)s level=%(levelname)s logger=%(name)s %(message)s"
    if in_journal() and JOURNAL.exists():
        logging.basicConfig(handlers=[Journal("pi0-policy-server")], level=logging.INFO, format="%(message)s")
    else:
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=line, datefmt="%Y-%m-%dT%H:%M:%S")
    for name in ("websockets", "jax"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with _ended_by_sigint() if argv[:1] == ["serve"] else nullcontext():
        return _run(argv)


@contextmanager
def _ended_by_sigint() -> Iterator[None]:
    """Have SIGINT end the process, until an event loop takes it: a KeyboardInterrupt may be lost in an import."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # else it is ignored, in a shell's background
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def parser(loaded: Collection[str] = tuple(COMMANDS)) -> argparse.ArgumentParser:
    """All commands, with the arguments of those whose modules may be loaded; shell completions are made from it."""
    parser = argparse.ArgumentParser(prog="pi0-policy-server", description="A server of robot policies, and its tools.")
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")
    for name, (load, help_) in COMMANDS.items():
        subparser = commands.add_parser(name, help=help_, description=f"{help_[0].upper()}{help_[1:]}.")
        if name in loaded:
            command = load()
            command.add_arguments(subparser)
            subparser.set_defaults(run=command.run)
    return parser


def _run(argv: list[str]) -> int:
    arguments = parser(argv[:1]).parse_args(argv)  # which refuses any first argument but a command's name
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough: `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "policy_server":
            raise
        print(f"pi0-policy-server: {error}; run: uv pip install -e '.[pi0]'", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
