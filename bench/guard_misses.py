"""Chunks that lead an arm into the table or into the other arm: how many touch although the collision guard watches.

    python -m bench.guard_misses [--chunks 1000] [--processes 1]

In virtual time, on the executed commands: a random start, a good chunk that keeps clear, in the midst of it a bad one;
planner at 50 Hz, follower at 200 Hz, the guard with its periods and a reaction time. Touching is judged by MuJoCo's own
contacts, deeper than the fingers may press the table. The same chunks are played with nobody watching, too.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import cache

import numpy as np

from tests.bad_chunks import outcome
from tests.guard_rig import Touching

touching = cache(Touching)


def one(seed):
    return outcome(seed, touching())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.chunks)
    with ProcessPoolExecutor(arguments.processes) as pool:
        outcomes = list(pool.map(one, seeds, chunksize=5))
    would = [o for o in outcomes if o.unguarded_depth_m > 0.0]
    misses = [o for o in would if o.missed]
    stopped = [o for o in outcomes if o.alarmed]
    rooms_mm = 1e3 * np.array([o.room_m for o in would])
    print(f"{len(outcomes)} bad chunks, {len(would)} of them would have touched")
    print(f"stopped: {len(stopped)}; misses: {len(misses)}")
    print(f"false alarms: {sum(o.false_alarm for o in outcomes)}")
    print(f"seen ahead by {np.quantile([o.ahead_s for o in stopped], (0.0, 0.05, 0.5))} s (least, 5 %, median)")
    print(f"came to rest {np.quantile(rooms_mm, (0.0, 0.05, 0.5))} mm beyond the clearance (least, 5 %, median)")
    for o in misses:
        print(f"  missed seed {o.seed}: {1e3 * o.depth_m:.1f} mm, {o.touched}; {o.ended or 'no alarm'}")


if __name__ == "__main__":
    main()
