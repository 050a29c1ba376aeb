"""The limit on open files is raised as far as it may be, and a daemon that needs more is refused."""

import subprocess
import sys

import pytest

from controller.open_files import NEEDED

TELL = "import resource; from controller.open_files import shortage; print(shortage()); " + (
    "print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
)


@pytest.mark.parametrize(
    ("soft", "hard", "said", "after"),
    [
        (64, 64, f"the limit on open files is 64, a daemon needs {NEEDED}: raise it (LimitNOFILE=, ulimit -Hn)", 64),
        (64, 1000, "", NEEDED),
        (NEEDED, NEEDED, "", NEEDED),
        (900, 1000, "", 900),
    ],
)
def test_the_limit(soft, hard, said, after):
    command = f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$0" -c "$1"'
    ended = subprocess.run(
        ["sh", "-c", command, sys.executable, TELL], capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout.splitlines() == [said, f"{after} {hard}"]
