"""The operator's socket: who may own the path, who may connect, and who is at the other end.

Runs in the supervisor. Must always hold: at most one daemon per path (an flock held for life, which the
kernel drops when the process ends, however it ends), and nobody can connect before mode and group are set.
The daemon must not hand the lock on to a child by fork, or the child would keep it.
"""

from __future__ import annotations

import asyncio
import fcntl
import grp
import os
import pwd
import socket
import stat
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

DIRECTORY_MODE = 0o750
LOCK_MODE = 0o640
MAX_PATH_B = 107
"""sun_path holds 108 bytes with the closing zero (unix(7))."""

ANSWER_TIMEOUT_S = 1.0
NAME_TIMEOUT_S = 0.02
"""An emergency stop must not wait for a directory server that knows the user's name."""


class SocketError(RuntimeError):
    """The socket cannot be opened. The message names the path, what is wrong and the next step."""


class SocketInUse(SocketError):
    """Another daemon serves this path."""

    def __init__(self, path: Path, pid: int | None) -> None:
        owner = "another daemon" if pid is None else f"the daemon with pid {pid}"
        super().__init__(f"{path} is in use by {owner}; stop it (pi0ctl shutdown) or choose another --socket")
        self.path = path
        self.pid = pid


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end, as it was when it connected. Pids are reused: log it, trust the uid."""

    pid: int
    uid: int
    gid: int
    user: str

    def __str__(self) -> str:
        return f"pid={self.pid} uid={self.uid} gid={self.gid} user={self.user}"


def peer_ids(connection: socket.socket) -> tuple[int, int, int]:
    """(pid, uid, gid) of a connected peer (SO_PEERCRED)."""
    size = struct.calcsize("3i")
    pid, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return pid, uid, gid


async def identify(connection: socket.socket) -> Peer:
    """The peer with its user name; the uid stands for the name when that cannot be had at once."""
    pid, uid, gid = peer_ids(connection)
    try:
        user = await asyncio.wait_for(asyncio.to_thread(user_name, uid), NAME_TIMEOUT_S)
    except TimeoutError:
        user = str(uid)
    return Peer(pid, uid, gid, user)


@lru_cache(maxsize=64)
def user_name(uid: int) -> str:
    """The number where it has no name, as in a container."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


class Claim:
    """The one right to serve `path`: a lock file for life and a bound socket that is not yet listening.

    Take it before touching anything that a second daemon must not touch.
    """

    def __init__(self, path: Path, *, group: str | None = None, mode: int = 0o660) -> None:
        """Raises SocketInUse when a daemon lives there, SocketError when the path cannot be used."""
        size_b = len(os.fsencode(path))
        if size_b > MAX_PATH_B:
            raise SocketError(f"{path} has {size_b} bytes, a socket's path at most {MAX_PATH_B}; shorten --socket")
        self.path = path
        self._lock_path = path.with_name(path.name + ".lock")
        gid = None if group is None else _group_id(group)
        try:
            _make_directory(path.parent, gid)
            self._lock = self._take_lock()
            try:
                _remove_stale(path)
                self.listener = _bind(path, gid, mode)
            except BaseException:
                self._drop_lock()
                raise
        except OSError as error:
            raise SocketError(
                f"cannot open the socket {path}: {error}; check owner and mode, or choose another --socket"
            ) from error

    def release(self) -> None:
        """Remove the socket file, then the lock: in between, a new daemon still finds the lock taken."""
        self.listener.close()
        self.path.unlink(missing_ok=True)
        self._drop_lock()

    def _take_lock(self) -> int:
        while True:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            lock = os.open(self._lock_path, flags, LOCK_MODE)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                text = os.pread(lock, 20, 0).strip()
                os.close(lock)
                raise SocketInUse(self.path, int(text) if text.isdigit() else None) from None
            if _is_same_file(lock, self._lock_path):
                os.ftruncate(lock, 0)
                os.pwrite(lock, b"%d\n" % os.getpid(), 0)
                return lock
            os.close(lock)  # the owner before us removed this file between our open and our flock

    def _drop_lock(self) -> None:
        self._lock_path.unlink(missing_ok=True)
        os.close(self._lock)


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _group_id(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise SocketError(f"group {group!r} does not exist; create it or change the socket's group") from None


def _make_directory(directory: Path, gid: int | None) -> None:
    if not directory.exists():
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir()
        directory.chmod(DIRECTORY_MODE)
        if gid is not None:
            os.chown(directory, -1, gid)
    found = directory.stat()
    if found.st_uid not in (0, os.geteuid()):
        raise SocketError(
            f"{directory} belongs to uid {found.st_uid}, who could swap the socket; choose another --socket"
        )
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise SocketError(f"{directory} can be written by everybody (mode {found.st_mode & 0o7777:o}); chmod o-w it")


def _remove_stale(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise SocketError(f"{path} exists and is not a socket; it was left alone: remove it or choose another --socket")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(ANSWER_TIMEOUT_S)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()  # nobody listens: its daemon is dead
        except (TimeoutError, BlockingIOError):
            raise SocketInUse(path, None) from None
        else:
            raise SocketInUse(path, peer_ids(probe)[0])


def _bind(path: Path, gid: int | None, mode: int) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(os.fspath(path))
        path.chmod(mode)
        if gid is not None:
            os.chown(path, -1, gid)
    except BaseException:
        listener.close()
        raise
    return listener
