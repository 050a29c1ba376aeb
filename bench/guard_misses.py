"""Chunks that lead an arm into the table or into the other arm: how many touch although the collision guard watches.

    python -m bench.guard_misses [--chunks N] [--processes N] [--json FILE]

In virtual time, on the executed commands: a random start, a good chunk that keeps clear, in the midst of it a bad one;
planner at 50 Hz, follower at 200 Hz, the guard with its periods and a reaction time. Touching is judged by MuJoCo's own
contacts, deeper than the fingers may press the table. The same chunks are played with nobody watching, too.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np

from bench.alone import show
from bench.host import Host
from bench.result_files import write
from bench.results import Bar, result
from tests.bad_chunks import outcome
from tests.guard_rig import Touching

touching = cache(Touching)


def one(seed):
    return outcome(seed, touching())


def row_of(outcomes):
    """What came of them: counts; how far ahead violations were seen, and what was left above the clearance at rest."""
    would = [o for o in outcomes if o.unguarded_depth_m > 0.0]
    stopped = [o for o in outcomes if o.alarmed]
    return {
        "what": "bad chunks",
        "n": len(outcomes),
        "would_touch": len(would),
        "stopped": len(stopped),
        "misses": sum(o.missed for o in would),
        "false_alarms": sum(o.false_alarm for o in outcomes),
        "ahead_least_s": min(o.ahead_s for o in stopped),
        "ahead_p50_s": float(np.median([o.ahead_s for o in stopped])),
        "room_least_mm": 1e3 * min(o.room_m for o in would),
        "room_p50_mm": 1e3 * float(np.median([o.room_m for o in would])),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    arguments = parser.parse_args()
    host, seeds = Host(), range(arguments.first, arguments.first + arguments.chunks)
    with ProcessPoolExecutor(arguments.processes) as pool:
        outcomes = list(pool.map(one, seeds, chunksize=5))
    row, misses = row_of(outcomes), [o for o in outcomes if o.missed]
    bars = [Bar("bad chunks that touch although the guard watches", row["misses"], 0, "")]
    found = result("guard_misses", host.header(), [row], bars)
    if arguments.json is not None:
        write(found, arguments.json)
    show(found)
    for o in misses:
        print(f"missed seed {o.seed}: {1e3 * o.depth_m:.1f} mm, {o.touched}; {o.ended or 'no alarm'}")


if __name__ == "__main__":
    main()
