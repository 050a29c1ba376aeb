"""`python -m controller.demo`: play the demo, judge it, leave everything in one directory.

Exit codes: 0 every episode's lighter is in the cup, or a toy was followed to the end of its time, no limit was broken,
no fault; 1 otherwise; 2 usage; 130 Ctrl-C, 143 SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from controller.demo import host
from controller.demo.options import POLICIES, ROBOTS, TOY_NOTE, Options, daemon_python
from controller.demo.paths import Paths
from controller.demo.processes import ProgramError
from controller.demo.progress import Progress
from controller.demo.report import as_text, safety, timing, verdict
from controller.demo.session import DemoError, Outcome, play
from controller.plot import draw
from controller.recording import META, VIDEO, Recording, RecordingError
from controller.run_options import LONGEST_HORIZON, SPEED, Seam
from controller.summary import look_up


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = _options(argv)
    signal.signal(signal.SIGTERM, _terminated)
    progress = Progress(sys.stdout, live=sys.stdout.isatty() and not options.headless)
    paths = Paths(options.runs_dir / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    paths.directory.mkdir(parents=True)
    _point_latest(paths.directory)
    if options.is_toy:
        progress.say(TOY_NOTE)
    before, began_s = host.CpuTime.now(), time.monotonic()
    try:
        outcome = play(options, paths, progress)
        cpu = host.CpuTime.now().since(before)
        progress.say("working out the report")
        recordings = [Recording.load(meta.parent) for meta in sorted(paths.recordings.glob(f"*/{META}"))]
        report = _report(options, outcome, recordings, cpu, time.monotonic() - began_s)
        _write(report, recordings, paths.directory)
    except (DemoError, ProgramError, RecordingError) as error:
        return _failed([str(error)], paths)
    except KeyboardInterrupt:
        progress.say(f"interrupted; logs and recordings: {paths.directory}")
        return 130
    reasons = verdict(report)
    progress.say(as_text(report))
    if reasons:
        return _failed(reasons, paths)
    print(f"SUCCESS: report.json, plot.png and video.mp4 are in {paths.directory}")
    return 0


def _report(
    options: Options, outcome: Outcome, recordings: Sequence[Recording], cpu: dict[str, float | None], wall_s: float
) -> dict[str, Any]:
    """Everything that goes to report.json."""
    episodes, processes = outcome.episodes, outcome.status.get("processes") or {}
    succeeded = sum(episode.success for episode in episodes)
    return {
        "task_success": None if options.is_toy else succeeded == options.episodes,
        "episodes": options.episodes,
        "episodes_succeeded": succeeded,
        "prompt": options.prompt,
        "policy": options.policy,
        "robot": options.robot,
        "note": TOY_NOTE if options.is_toy else None,
        "latency_ms": options.latency_ms,
        "latency_jitter_ms": options.latency_jitter_ms,
        "seed": options.seed,
        "run_options": {"asked": options.run_options, "played": _played(recordings)},
        "duration_s": round(sum(episode.duration_s for episode in episodes), 3),
        "wall_s": round(wall_s, 3),
        **timing([recording for recording in recordings if recording.is_run]),
        **safety(recordings, int(look_up(outcome.status, "motor", "refused") or 0)),
        "faults": [episode.fault for episode in episodes if episode.fault],
        "episode_results": [asdict(episode) for episode in episodes],
        "recording": {"dropped": sum(recording.dropped for recording in recordings)},
        "host": {
            **host.describe(),
            **cpu,
            "realtime": {name: p["realtime"] for name, p in processes.items() if p.get("realtime")},
            "processes": {
                name: {key: p.get(key) for key in ("cpu_percent", "rss_mb", "restarts")}
                for name, p in processes.items()
            },
        },
    }


def _played(recordings: Sequence[Recording]) -> dict[str, Any] | None:
    """How the last run was played at its start, as its recording says."""
    runs = [recording for recording in recordings if recording.is_run]
    return runs[-1].meta["options"] if runs else None


def _write(report: dict[str, Any], recordings: Sequence[Recording], directory: Path) -> None:
    """report.json, and plot.png and video.mp4 of the last run."""
    (directory / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    runs = [recording for recording in recordings if recording.is_run]
    if not runs:
        return
    draw(runs[-1], _title(report), directory / "plot.png")
    if (runs[-1].directory / VIDEO).exists():
        shutil.copyfile(runs[-1].directory / VIDEO, directory / VIDEO)


def _title(report: dict[str, Any]) -> str:
    last = report["episode_results"][-1]
    what = report["note"] or f'"{report["prompt"]}"'
    achieved = "motion followed to its end" if report["note"] else "lighter in the cup"
    return (
        f"{what}; seed {last['seed']}: {last['reason'] or achieved} after {last['duration_s']:.1f} s; "
        f"server latency {report['latency_ms']:g} ± {report['latency_jitter_ms']:g} ms"
    )


def _failed(reasons: list[str], paths: Paths) -> int:
    for reason in reasons:
        print(f"FAILED: {reason}", file=sys.stderr)
    print(f"logs: {paths.server_log} {paths.daemon_log}", file=sys.stderr)
    return 1


def _point_latest(directory: Path) -> None:
    """Make `latest` beside the directory lead to it, in one step."""
    link = directory.parent / "latest"
    new = directory.parent / f".latest-{os.getpid()}"
    new.symlink_to(directory.name)
    os.replace(new, link)


def _terminated(_signum: int, _frame: Any) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)  # through every `finally`, as Ctrl-C does


def _options(argv: Sequence[str] | None) -> Options:
    usual = Options()
    parser = argparse.ArgumentParser(
        prog="python -m controller.demo",
        description="Two simulated arms, a policy server and the daemon between them put a lighter into a cup.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--policy", choices=POLICIES, default=usual.policy, help="pi0-toy: a tiny pi0 made on the spot; means nothing")
    add("--robot", choices=ROBOTS, default=usual.robot, help="lerobot: through LeRobot (make setup-lerobot)")
    add("--prompt", default=usual.prompt, help="the task in words")
    add("--latency-ms", type=float, default=usual.latency_ms, help="the server answers no sooner than this")
    add("--latency-jitter-ms", type=float, default=usual.latency_jitter_ms, help="varied by up to this")
    add("--seed", type=int, default=usual.seed, help="scene of the first episode; the next takes the next")
    add("--episodes", type=_count, default=usual.episodes)
    add("--seam", choices=[seam.word for seam in Seam], help="from one action chunk to the next")
    add("--speed", type=_speed, help=f"{SPEED[0]:g} to {SPEED[1]:g} of the speed that was taught")
    add("--execution-horizon", type=_horizon, help="steps of a chunk to be past before the next request leaves")
    add("--headless", action="store_true", help="no live line, as in a CI job")
    add("--runs-dir", type=Path, default=usual.runs_dir, help="gets a new directory for this demo")
    options = Options(**vars(parser.parse_args(argv)))
    if not daemon_python(options).exists():
        parser.error(f"--robot {options.robot} needs {daemon_python(options)}, which is not there: make setup-lerobot")
    return options


def _count(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} must be 1 or more")
    return int(text)


def _speed(text: str) -> float:
    if not SPEED[0] <= float(text) <= SPEED[1]:
        raise argparse.ArgumentTypeError(f"{text} must be {SPEED[0]:g} to {SPEED[1]:g}")
    return float(text)


def _horizon(text: str) -> int:
    if not 0 <= int(text) <= LONGEST_HORIZON:
        raise argparse.ArgumentTypeError(f"{text} must be 0 to {LONGEST_HORIZON}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
