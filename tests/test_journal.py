"""What arrives in the journal: entries, fields and priorities, read from a socket of the test's own."""

import logging
import os
import queue
import select
import socket
import struct
import subprocess
import sys

import pytest

import controller.systemd
import policy_server.systemd
from controller import logs

BOTH = pytest.mark.parametrize("systemd", [controller.systemd, policy_server.systemd], ids=lambda it: it.__name__)


class FakeJournal:
    """Listens where the journal would, and reads its protocol: NAME=value, or NAME, length and bytes."""

    def __init__(self, directory):
        self.path = str(directory / "journal")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.settimeout(10.0)

    def entry(self):
        data, passed, *_ = self._socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))
        for _level, _kind, descriptor in passed:
            with open(struct.unpack("i", descriptor[:4])[0], "rb") as file:
                file.seek(0)
                data = file.read()
        return dict(self._fields(data))

    def waiting(self):
        """The messages that have arrived."""
        found = []
        while select.select([self._socket], [], [], 0)[0]:
            found.append(self.entry()["MESSAGE"])
        return found

    def _fields(self, data):
        while data:
            head, data = data.split(b"\n", 1)
            name, equals, value = head.partition(b"=")
            if not equals:
                (size,) = struct.unpack("<Q", data[:8])
                value, data = data[8 : 8 + size], data[9 + size :]
            yield name.decode(), value.decode()

    def close(self):
        self._socket.close()


@pytest.fixture
def journal(tmp_path):
    made = FakeJournal(tmp_path)
    yield made
    made.close()


@pytest.fixture
def write(journal, request):
    """A logger that writes there, as the process `camera cam_high` would."""
    handler = request.param.Journal("pi0-camera-cam_high", journal.path, process="camera cam_high")
    logger = logging.Logger("test")
    logger.addHandler(handler)
    yield logger
    handler.close()


WRITE = pytest.mark.parametrize(
    "write", [controller.systemd, policy_server.systemd], ids=lambda it: it.__name__, indirect=True
)


@WRITE
def test_an_entry_has_priority_identifier_process_and_the_call_s_own_fields(write, journal):
    write.warning("state %s", "idle", extra=logs.fields(state="idle", motion_id=7))
    entry = journal.entry()
    assert entry["MESSAGE"] == "state idle"
    assert entry["PRIORITY"] == "4"
    assert entry["SYSLOG_IDENTIFIER"] == "pi0-camera-cam_high"
    assert (entry["PI0_PROCESS"], entry["PI0_STATE"], entry["PI0_MOTION_ID"]) == ("camera cam_high", "idle", "7")
    assert entry["CODE_FUNC"] == "test_an_entry_has_priority_identifier_process_and_the_call_s_own_fields"


@WRITE
@pytest.mark.parametrize(("level", "priority"), [("debug", "7"), ("info", "6"), ("error", "3"), ("critical", "2")])
def test_levels_are_syslog_s(write, journal, level, priority):
    getattr(write, level)("x")
    assert journal.entry()["PRIORITY"] == priority


@WRITE
def test_a_traceback_and_a_forged_field_stay_inside_their_entry(write, journal):
    def broken():
        raise RuntimeError("two\nPRIORITY=0\nlines")

    try:
        broken()
    except RuntimeError:
        write.exception("it broke", extra=logs.fields(prompt="put\nPI0_STATE=running"))
    entry = journal.entry()
    assert entry["MESSAGE"].startswith("it broke\nTraceback")
    assert entry["MESSAGE"].endswith("two\nPRIORITY=0\nlines")
    assert entry["PRIORITY"] == "3"
    assert entry["PI0_PROMPT"] == "put\nPI0_STATE=running"
    assert "PI0_STATE" not in entry


@WRITE
def test_an_entry_too_large_for_a_datagram_arrives_whole(write, journal):
    write.info("x" * 1_000_000)
    assert journal.entry()["MESSAGE"] == "x" * 1_000_000


@WRITE
def test_a_journal_that_does_not_read_holds_nobody_up_and_learns_what_it_missed(write, journal):
    for number in range(5000):  # a queue holds far fewer
        write.info("%d", number)
    taken = journal.waiting()
    assert 0 < len(taken) < 5000
    assert taken == [str(number) for number in range(len(taken))]
    write.info("again")
    assert journal.waiting() == [f"{5000 - len(taken)} entries were lost", "again"]


@BOTH
def test_stderr_is_the_journal_only_if_systemd_says_so_of_this_very_pipe(systemd, monkeypatch, capfd):
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    assert not systemd.in_journal()
    with capfd.disabled():
        found = os.fstat(sys.stderr.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        assert systemd.in_journal()
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino + 1}")
        assert not systemd.in_journal(), "redirected into a file"


def in_a_program(code):
    """What it writes to stderr, where that is said to be the journal."""
    reading, writing = os.pipe()
    found = os.fstat(writing)
    environ = os.environ | {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
    done = subprocess.run([sys.executable, "-c", code], stderr=writing, env=environ, timeout=60)
    os.close(writing)
    with open(reading, encoding="utf-8") as text:
        return done.returncode, text.read()


def test_a_journal_whose_socket_is_out_of_reach_gets_lines_with_priorities():
    code = (
        "import logging, pathlib; from controller import logs; logs.JOURNAL = pathlib.Path('/nowhere')\n"
        "logs.set_up_logging('info', 'motor'); logging.getLogger('x').error('two\\nlines')"
    )
    assert in_a_program(code) == (0, "<3>ERROR motor: two\n<3>lines\n")


def test_why_a_daemon_does_not_start_is_an_error_in_the_journal(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("nonsense")
    code = f"import sys; from controller.__main__ import main; sys.exit(main(['--config', {str(path)!r}]))"
    code, text = in_a_program(code)
    assert code == 78
    assert text.startswith(f"<3>{path}: not valid TOML")
    assert text.count("\n") == 1


def test_why_a_policy_server_does_not_start_reaches_a_journal_that_is_out_of_reach():
    code = (
        "import sys, pathlib; from policy_server import __main__ as program\n"
        "program.JOURNAL = pathlib.Path('/nowhere')\n"
        "sys.exit(program.main(['serve', '--policy', 'scripted', '--latency-ms', '-1']))"
    )
    code, text = in_a_program(code)
    assert code == 78
    assert "level=ERROR" in text
    assert "need 0 <= jitter <= latency" in text


def test_lines_that_a_blocked_terminal_does_not_take_are_counted():
    lines = queue.Queue(3)
    logger = logging.Logger("test")
    logger.addHandler(logs.Dropping(lines))
    for number in range(10):
        logger.info("%d", number)
    assert [lines.get().getMessage() for _ in range(3)] == ["0", "1", "2"]
    logger.info("again")
    assert [lines.get().getMessage() for _ in range(2)] == ["7 lines were lost", "again"]
