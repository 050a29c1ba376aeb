"""pi0ctl: every command an operator has, over the daemon's unix socket.

Runs in the operator's process. Must always hold: whoever waits for a motion here and stops waiting, by
a signal or a time-out, has sent `stop` first; and the exit code tells a script what happened.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from controller import cli_faults
from controller.bringup import command as bring_up
from controller.client import Client, DaemonUnreachable, NotAllowed, RequestError, Status
from controller.doctor import command as doctor
from controller.exits import Exit
from controller.paths import default_socket
from controller.refused import Refused
from controller.run_options import LONGEST_HORIZON, SPEED, Seam
from controller.summary import DRY_RUN, fault_lines, look_up, played, summary
from controller.waiting import STOP_TIMEOUT_S, StopOnLeaving, complain, follow, run_for

ARRIVED = 5e-4
"""rad, m: a joint that is commanded so near to where a jog leads has arrived."""


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command and return its exit code."""
    arguments = parser().parse_args(argv)
    if arguments.timeout is None:
        arguments.timeout = arguments.default_timeout_s
    try:
        return int(arguments.call(Client(arguments.socket), arguments))
    except Refused as refused:
        complain(f"refused: {refused.reason}", f"allowed now: {', '.join(refused.allowed) or 'nothing'}")
        return Exit.REFUSED
    except RequestError as error:
        complain(str(error))
        return Exit.USAGE
    except DaemonUnreachable as error:
        complain(str(error))
        return Exit.REFUSED if isinstance(error, NotAllowed) else Exit.UNREACHABLE
    except TimeoutError as error:
        complain(str(error))
        return Exit.TIMEOUT
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stdout = None  # so that nothing is flushed into it at exit
        return Exit.DONE


def _status(client: Client, arguments: argparse.Namespace) -> Exit:
    status = client.status(arguments.timeout)
    print(json.dumps(status, indent=2) if arguments.json else summary(status))
    return Exit.DONE


def _plain(client: Client, arguments: argparse.Namespace) -> Exit:
    done = client.command(arguments.command, arguments.timeout)
    print(f"{arguments.command}: done, state {done['state']}")
    return Exit.DONE


def _reload(client: Client, arguments: argparse.Namespace) -> Exit:
    changed = client.command("reload", arguments.timeout)["changed"]
    print("reload: done", *(changed or ["nothing has changed"]), sep="\n  ")
    return Exit.DONE


def _scene(client: Client, arguments: argparse.Namespace) -> Exit:
    client.command("scene", arguments.timeout, seed=arguments.seed)
    print(f"scene: laid out with seed {arguments.seed}")
    return Exit.DONE


def _home(client: Client, arguments: argparse.Namespace) -> Exit:
    deadline_s = time.monotonic() + arguments.timeout
    with StopOnLeaving(client):
        motion_id = client.command("home", arguments.timeout, **_options(arguments))["motion_id"]
        if not arguments.wait:
            print("home: begun")
            return Exit.DONE
        ending = follow(client, "homing", motion_id, deadline_s)
    if ending.get("state") == "fault":
        return _report_fault(ending)
    if not ending.get("homed"):
        complain("home: stopped by another command before it arrived")
        return Exit.REFUSED
    print("home: done, homed")
    return Exit.DONE


def _jog(client: Client, arguments: argparse.Namespace) -> Exit:
    deadline_s = time.monotonic() + arguments.timeout
    before = _held(client.status(arguments.timeout), arguments.joint)
    with StopOnLeaving(client):
        body = {"joint": arguments.joint, "by": arguments.by, **_options(arguments)}
        motion_id = client.command("jog", arguments.timeout, **body)["motion_id"]
        ending = follow(client, "homing", motion_id, deadline_s)
    if ending.get("state") == "fault":
        return _report_fault(ending)
    moved = _held(ending, arguments.joint) - before
    if not abs(moved - arguments.by) <= ARRIVED:
        complain(f"jog: stopped by another command after {moved:+.4f} of {arguments.by:+.4f}")
        return Exit.REFUSED
    print("jog: done; the arms are not homed")
    return Exit.DONE


def _held(status: Status, joint: str) -> float:
    """Where a joint is commanded to be; nan where nobody knows."""
    names, q = look_up(status, "robot", "joint_names") or [], look_up(status, "robot", "q_command") or []
    return float(dict(zip(names, q, strict=False)).get(joint, math.nan))


def _run(client: Client, arguments: argparse.Namespace) -> Exit:
    with StopOnLeaving(client):
        done = client.command("run", arguments.timeout, prompt=arguments.prompt, **_options(arguments))
        motion_id = done["motion_id"]
        print(f"run: {DRY_RUN if done['dry'] else 'running'}, seam {played(done)}")
        if arguments.seconds is None:
            print("run: pi0ctl stop ends it")
            return Exit.DONE
        ending = run_for(client, motion_id, arguments.seconds)
    if ending is None:
        print(f"run: done, stopped after {arguments.seconds:g} s")
        return Exit.DONE
    if ending.get("state") == "fault":
        return _report_fault(ending)
    complain(f"run: stopped by another command before {arguments.seconds:g} s were over")
    return Exit.REFUSED


def _adjust(client: Client, arguments: argparse.Namespace) -> Exit:
    print(f"adjust: seam {played(client.command('adjust', arguments.timeout, **_options(arguments)))}")
    return Exit.DONE


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    """How a run is to be played, as far as it was said."""
    names = ("seam", "speed", "dry", "execution_horizon")
    return {name: value for name in names if (value := getattr(arguments, name, None)) is not None}


def _report_fault(status: Status) -> Exit:
    message, *rest = fault_lines(status.get("fault") or {})
    complain(f"fault {message}", *rest)
    return Exit.FAULT


def _events(client: Client, arguments: argparse.Namespace) -> Exit:
    for event in client.events(replay=arguments.replay):
        line = json.dumps(event) if arguments.json else f"{event['time']}  {event['kind']:<10}  {event['text']}"
        print(line, flush=True)
    return Exit.DONE


def _watch(client: Client, _arguments: argparse.Namespace) -> Exit:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        complain("watch needs a terminal; for scripts use: pi0ctl status --json, pi0ctl events --json")
        return Exit.USAGE
    from controller.watch import watch  # here, because drawing is slow to import

    watch(client)
    return Exit.DONE


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 0 < (value := float(text)) < math.inf:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} must be a positive number of seconds")


def parser() -> argparse.ArgumentParser:
    """What pi0ctl takes; shell completions are made from it."""
    parser = argparse.ArgumentParser(
        prog="pi0ctl",
        description="Operate the pi0-controller daemon.",
        epilog="exit codes: 0 done, 1 refused, not agreed to, or not fit (doctor), 2 usage, 3 daemon not reachable, "
        "4 ended in a fault, 5 time-out, 130 Ctrl-C",
    )
    parser.add_argument(
        "--socket", type=Path, default=default_socket(), help="the daemon's socket (default: %(default)s)"
    )
    parser.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="how long to wait at most")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, call: Callable[..., Exit], timeout_s: float, what: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=what, description=what)
        command.set_defaults(call=call, default_timeout_s=timeout_s)
        return command

    add("status", _status, 5, "what everything is doing").add_argument("--json", action="store_true")
    home = add("home", _home, 60, "move to the home pose and wait for it; Ctrl-C stops the arms")
    home.add_argument("--no-wait", dest="wait", action="store_false", help="return once the motion has begun")
    jog = add("jog", _jog, 60, "move one joint a little, to try it out; Ctrl-C stops the arms")
    jog.add_argument("joint", metavar="JOINT", help="left_joint_0 to right_left_carriage_joint")
    jog.add_argument("by", type=float, metavar="BY", help="rad, of a gripper m: at most 0.1 rad or 0.01 m either way")
    run = add("run", _run, 70, "follow the policy; Ctrl-C stops the arms while this command waits")
    run.add_argument("--prompt", required=True, help="the task in words, as in the training data")
    run.add_argument("--for", dest="seconds", type=_seconds, metavar="SECONDS", help="stop after this long")
    run.add_argument("--dry", action="store_true", default=None, help="work everything out and command nothing")
    run.add_argument(
        "--execution-horizon",
        type=int,
        metavar="STEPS",
        help=f"ask anew once so many steps are past, 0 to {LONGEST_HORIZON}; 0: as soon as the last answer came",
    )
    for command, usual in ((home, "1"), (jog, "0.1")):
        command.add_argument("--speed", type=float, metavar="X", help=f"of robot.homing's, 0.05 to 1; else {usual}")
    adjust = add("adjust", _adjust, 5, "play the run that goes on in another way; give one option or both")
    for command in (run, adjust):
        command.add_argument("--seam", choices=[seam.word for seam in Seam], help="from one action chunk to the next")
        command.add_argument(
            "--speed", type=float, metavar="X", help=f"{SPEED[0]:g} to {SPEED[1]:g} of the speed that was taught"
        )
    add("stop", _plain, STOP_TIMEOUT_S, "brake and hold; returns when the arms are at rest")
    add("estop", _plain, 5, "brake, hold and latch a fault that only reset clears")
    add("reset", _plain, 10, "clear a fault; nothing moves")
    add("reload", _reload, 60, "read the configuration again, in idle; what may change without a restart is applied")
    add("shutdown", _plain, 10, "end the daemon")
    scene = add("scene", _scene, 10, "lay out the simulated scene anew")
    scene.add_argument("--seed", type=int, required=True, help="the same number gives the same scene")
    events = add("events", _events, 5, "print what happens as it happens")
    events.add_argument("--json", action="store_true", help="one JSON object per line")
    events.add_argument("--replay", action="store_true", help="first the events that the daemon has kept")
    cli_faults.add_to(add)
    doctor.add_to(add)
    bring_up.add_to(add, _seconds)
    add("watch", _watch, 5, "live screen; keys: space or s stop, e emergency stop, 1-4 seam, + - speed, q quit")
    return parser


if __name__ == "__main__":
    sys.exit(main())
