"""A daemon's whole life in its own interpreter: nothing on stderr, nothing left in /dev/shm."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shm.segment import SHM_DIR

DAEMON = """
import multiprocessing
import sys
import numpy as np
from shm import Owner, Ring, RingSpec, Wake

DTYPE = np.dtype([("x", "u8"), ("pixels", "u1", (48, 64, 3))])

def child(handle, wake, tidy):
    ring = Ring.attach(handle)
    with ring.writer().slot() as record:
        record["x"] = ring.count + 1
    reader, out = ring.reader(), ring.blank()
    reader.newest(out)
    wake.set()
    if tidy:
        ring.close()
        wake.close()

def main(tidy):
    context = multiprocessing.get_context("spawn")
    owner, wake = Owner.current(), Wake()
    rings = [Ring.create(owner, RingSpec(name, DTYPE, 4, 1)) for name in ("life", "frames")]
    for _ in range(2):
        for ring in rings:
            process = context.Process(target=child, args=(ring.handle, wake, tidy))
            process.start()
            process.join()
            assert process.exitcode == 0
    assert wake.clear() == 4
    out = rings[0].blank()
    reader = rings[0].reader()
    print(owner.pid, [ring.count for ring in rings], [reader.next(out), int(out["x"])])
    with rings[0].writer().slot() as held:
        held["x"] = 3
    if tidy == "full":
        wake.close()
        for ring in rings:
            ring.close()
    for ring in rings:
        ring.unlink()

if __name__ == "__main__":
    main(sys.argv[1])
"""


@pytest.mark.parametrize("tidy", ["full", "", "children"])
def test_a_normal_life_is_silent_and_leaves_nothing(tmp_path: Path, tidy: str) -> None:
    """Also when the daemon or its children end without closing what they mapped."""
    script = tmp_path / "daemon.py"
    script.write_text(DAEMON)
    done = subprocess.run(
        [sys.executable, "-W", "error", script, tidy], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    pid, rest = done.stdout.split(maxsplit=1)
    assert rest == "[2, 2] [1, 1]\n"
    assert [name for name in os.listdir(SHM_DIR) if name.startswith(f"pi0c.{pid}.")] == []
