"""`pi0ctl faults` and `pi0ctl plot`: what the black box has kept. They read files and need no daemon.

A daemon that answers tells where its dumps lie; numpy and matplotlib are imported when something is drawn or read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controller.client import Client, DaemonUnreachable, RequestError
from controller.dumps import FOLDER, Dump, dump_at, dumps
from controller.exits import Exit
from controller.extras import get
from controller.refused import Refused
from controller.summary import look_up

if TYPE_CHECKING:
    from controller.recording import Recording

SHIPPED = Path("runs/recordings")
"""Of the shipped simulation; config.Recorder says the same, but is slow to import."""

LISTED = 10
LATEST = "latest"
LOOK_S = 2.0

Add = Callable[[str, Callable[..., Exit], float, str], argparse.ArgumentParser]


class NothingThere(Exception):
    """There is no such dump or recording, or it cannot be read. The message says where was looked."""


def add_to(add: Add) -> None:
    """Add both commands to pi0ctl's parser."""
    faults = add("faults", _faults, LOOK_S, "list the newest faults, or show what came before one")
    faults.add_argument(
        "what", nargs="*", metavar="N | show WHICH",
        help=f"how many to list ({LISTED}); or show and 'latest', a dump's name or its path",
    )  # fmt: skip
    _add_dir(faults)
    faults.add_argument("--json", action="store_true", help="as JSON")
    plot = add("plot", _plot, LOOK_S, "draw the seconds before a fault, or a recording, as a PNG")
    plot.add_argument("which", nargs="?", default=LATEST, help="'latest' fault, a dump's name, or a directory")
    plot.add_argument("-o", dest="output", type=Path, metavar="FILE.png", help="default: NAME.png, here")
    _add_dir(plot)


def _add_dir(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--dir", type=Path, metavar="DIR",
        help="recorder.directory, or its folder 'faults' (default: the running daemon's, or else runs/recordings)",
    )  # fmt: skip


def _faults(client: Client, arguments: argparse.Namespace) -> Exit:
    what: list[str] = arguments.what
    try:
        if what[:1] == ["show"] and len(what) <= 2:
            return _show(_find(client, arguments, what[1] if len(what) == 2 else LATEST), arguments.json)
        if len(what) > 1 or not (count := what[0] if what else str(LISTED)).isdecimal() or int(count) < 1:
            return _complain(f"faults {' '.join(what)}: must be a number of 1 or more, or: show latest, show NAME")
        return _list(_folder(client, arguments), int(count), arguments.json)
    except NothingThere as error:
        return _complain(str(error))


def _plot(client: Client, arguments: argparse.Namespace) -> Exit:
    try:
        from controller.plot import draw
    except ModuleNotFoundError as error:
        return _complain(f"{error.name} is not installed; plots need: {get('sim')}")
    try:
        recording = _load(_find(client, arguments, arguments.which))
    except NothingThere as error:
        return _complain(str(error))
    path = arguments.output or Path(f"{recording.directory.name}.png")
    try:
        draw(recording, _title(recording), path)
    except (OSError, ValueError) as error:  # ValueError: a file name that ends in no picture's format
        return _complain(f"{path} cannot be written: {error}")
    print(path)
    return Exit.DONE


# ---- where to look -------------------------------------------------------------------------------------------


def _folder(client: Client, arguments: argparse.Namespace) -> Path:
    """Of the dumps: as asked, or as a daemon that answers says, or the shipped one."""
    if arguments.dir is not None:
        inner: Path = arguments.dir / FOLDER
        return inner if inner.is_dir() else arguments.dir
    try:
        told = look_up(client.status(arguments.timeout), "recorder", FOLDER)
    except (DaemonUnreachable, RequestError, Refused, TimeoutError):
        told = None
    return Path(told) if isinstance(told, str) else SHIPPED / FOLDER


def _find(client: Client, arguments: argparse.Namespace, which: str) -> Path:
    """A directory by its path, or a dump by its name. Raises NothingThere."""
    if which != LATEST and Path(which).is_dir():
        return Path(which)
    folder = _folder(client, arguments)
    if which != LATEST:
        if not (folder / which).is_dir():
            raise NothingThere(f"no directory {which}, neither here nor in {folder.absolute()}; see: pi0ctl faults")
        return folder / which
    found = _dumps(folder)
    if not found:
        raise NothingThere(f"no fault is kept in {folder.absolute()}; another place: --dir")
    return found[0].directory


def _dumps(folder: Path) -> list[Dump]:
    try:
        return dumps(folder)
    except OSError as error:
        raise NothingThere(f"{folder.absolute()} cannot be read: {error}") from error


def _load(directory: Path) -> Recording:
    from controller.recording import Recording, RecordingError  # here, because numpy is slow to import

    try:
        return Recording.load(directory)
    except RecordingError as error:
        raise NothingThere(str(error)) from error


# ---- what is said --------------------------------------------------------------------------------------------


def _list(folder: Path, count: int, as_json: bool) -> Exit:
    found = _dumps(folder)[:count]
    if as_json:
        print(json.dumps([_described(dump) for dump in found], indent=2))
        return Exit.DONE
    if not found:
        print(f"no fault is kept in {folder.absolute()}")
        return Exit.DONE
    print(f"in {folder.absolute()}, newest first:")
    for dump in found:
        fault = dump.fault
        print(f"{fault['time']}  {fault['code'].upper():<18}  {fault['message']}\n    {dump.directory.name}")
    return Exit.DONE


def _described(dump: Dump) -> dict[str, Any]:
    return {"directory": str(dump.directory.absolute()), **dump.fault, "prompt": dump.meta.get("prompt")}


def _show(directory: Path, as_json: bool) -> Exit:
    dump = dump_at(directory.resolve())
    if dump is None:
        raise NothingThere(f"{directory} is not the dump of a fault; pi0ctl plot {directory} draws a recording")
    from controller.fault_story import joint_lines, last_events

    recording = _load(directory)
    if as_json:
        print(json.dumps(_described(dump) | {"events": recording.events}, indent=2))
        return Exit.DONE
    fault = dump.fault
    motion = f"motion {fault['motion_id']}" + (f' "{dump.meta["prompt"]}"' if dump.meta["prompt"] else "")
    lines = [
        f"{fault['code'].upper()}: {fault['message']}",
        f"cause: {fault['cause']}",
        f"next:  {fault['next_step']}",
        f"when:  {fault['time']} in state {fault['state_before']}, {motion}",
        f"files: {directory.absolute()}",
        "",
        "what happened (seconds from the fault):",
        *last_events(recording),
        "",
        *joint_lines(recording),
        "",
        f"plot:  pi0ctl plot {directory}",
    ]
    print("\n".join(lines))
    return Exit.DONE


def _title(recording: Recording) -> str:
    meta, fault = recording.meta, recording.fault
    prompt = f' "{meta["prompt"]}"' if meta["prompt"] else ""
    if fault is None:
        how = "".join(f", {name} {value}" for name, value in (meta.get("options") or {}).items())
        return f"{meta['kind']} {recording.motion_id}{prompt}, {meta['started']}{how}"
    return (
        f"{fault['message']}; in state {fault['state_before']}, motion {recording.motion_id}{prompt}, {fault['time']}"
    )


def _complain(text: str) -> Exit:
    print(text, file=sys.stderr)
    return Exit.USAGE
