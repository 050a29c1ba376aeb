"""Which benchmarks there are, and the one command that each is. Pure.

`make bench` runs each as often as `repeats` says, by turns, so that a busy minute of the machine does not fall on all
runs of one. Quick sizes, and all together less than a quarter of an hour on two cores.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bench:
    """One question. `arguments`: what Python runs; `quick`: what makes it quick. Writes its result to --json FILE."""

    name: str
    question: str
    arguments: tuple[str, ...]
    repeats: int
    quick: tuple[str, ...] = ("--quick",)

    @property
    def command(self) -> str:
        """What to type for the figures that `make bench` keeps."""
        return " ".join(("python", *self.arguments, *self.quick))


BENCHES = (
    Bench("shm", "What do our ring and our wake-up cost beside their peers?", ("-m", "bench.micro", "shm"), 3, ()),
    Bench("hand_over", "How soon is a frame of one process usable in others?", ("-m", "bench.hand_over"), 3),
    Bench("wire", "What does a request cost beside openpi's, over which link?", ("-m", "bench.micro", "wire"), 3, ()),
    Bench("end_to_end", "How long from a frame to the command made of it, and where?", ("-m", "bench.end_to_end"), 2),
    Bench("peers", "How do other clients of the same policy do?", ("-m", "bench.peers"), 1),
    Bench("control_loop", "How late is our loop, and how late must it be here?", ("-m", "bench.control_loop"), 3),
    Bench("startup", "How soon does it start, brake and recover?", ("-m", "bench.startup"), 1),
    Bench("cost", "What does each process cost, and each camera?", ("-m", "bench.cost"), 1),
)
POLICY = Bench("policy", "How long does a call of the model take, and how long must it?", ("-m", "bench.policy"), 1)
"""Where there is a GPU; its quick size takes minutes."""

SOAK = Bench("soak", "What comes of a hundred episodes mixed with faults?", ("-m", "bench.soak"), 1, ())
HOUR = ("-m", "bench.soak", "--minutes", "60", "--spare")
GROWTH = Bench("growth", "Does any process grow in an hour?", HOUR, 1, ())
SEAMS = ("-m", "bench.closed_loop", "--episodes", "12", "--lighter-episodes", "1")
CLOSED_LOOP = Bench("closed_loop", "What does latency do to a task, and what to the stock client's?", SEAMS, 1, ())
GUARD = Bench("guard_misses", "How many bad chunks touch beside the guard?", ("-m", "bench.guard_misses"), 1, ())
LONG = (SOAK, GROWTH, CLOSED_LOOP, GUARD)
"""When asked for by name: they take minutes, and one of them an hour."""

BY_NAME = {bench.name: bench for bench in (*BENCHES, POLICY, *LONG)}


def rounds(benches: tuple[Bench, ...], repeats: int | None = None) -> list[Bench]:
    """Every run, in order. repeats: in place of each one's own."""
    times = {bench.name: bench.repeats if repeats is None else repeats for bench in benches}
    return [bench for i in range(max(times.values())) for bench in benches if i < times[bench.name]]
