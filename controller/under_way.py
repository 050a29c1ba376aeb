"""The requests of one connection that are not answered yet: how long to wait, and which one an answer is to. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from controller.observation import Observation


class NotAsked(ValueError):
    """An answer to nothing that was asked, or that is waited for."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that is not answered yet. first: of its connection. playing: the policy's time passed then.

    t_asked_ns: when it began to be built.
    """

    chunk_id: int
    motion_id: int
    observation: Observation
    t_asked_ns: int
    t_sent_ns: int
    playing: bool
    first: bool


class UnderWay:
    """named: the server names the request that it answers, so that several may be under way."""

    def __init__(self, named: bool, timeout_s: float, first_timeout_s: float) -> None:
        self.named = named
        self._timeouts_s = timeout_s, first_timeout_s
        self._asked: list[Asked] = []
        self._answered = False
        self._silent_ns = 0
        """Since when the server owes an answer."""

    @property
    def first(self) -> bool:
        """Whether nothing has been answered yet: a server may compile its model for the first request."""
        return not self._answered

    @property
    def timeout_s(self) -> float:
        timeout_s, first_timeout_s = self._timeouts_s
        return timeout_s if self._answered else first_timeout_s

    def add(self, asked: Asked) -> None:
        if not self._asked or self._asked[-1].motion_id != asked.motion_id:
            self._silent_ns = asked.t_sent_ns
        self._asked.append(asked)

    def answered(self, chunk_id: object, now_ns: int) -> Asked:
        """The request that an answer is to; older ones are not waited for any more. Raises NotAsked.

        chunk_id: as the server names it; not looked at where it names none.
        """
        if not self._asked:
            raise NotAsked("an answer to nothing that was asked")
        newest = self._asked[-1]
        wanted = chunk_id if self.named else newest.chunk_id
        for asked in self._asked:
            if type(wanted) is int and asked.chunk_id == wanted:
                break
        else:
            raise NotAsked(f"answer to request {chunk_id!r}, expected {newest.chunk_id}")
        self._asked = [one for one in self._asked if one.chunk_id > asked.chunk_id]
        self._answered, self._silent_ns = True, now_ns
        return asked

    def patience_s(self, now_ns: int, overdue_s: float) -> float:
        """How much longer to wait before another request may leave; 0 when none is awaited.

        overdue_s: after how long an answer is as good as lost; infinite where nobody knows yet. One without a name has
        to be waited for in any case, or the next answer could be taken for it.
        """
        if not self._asked:
            return 0.0
        bound_s = min(overdue_s, self.timeout_s) if self.named and self._answered else self.timeout_s
        return max(bound_s - (now_ns - self._asked[-1].t_sent_ns) * 1e-9, 0.0)

    def lost(self, now_ns: int, motion_id: int) -> bool:
        """Whether the server has owed this motion an answer for longer than it may, however often it was asked.

        One without a name is owed whatever the motion.
        """
        if not self._asked or (self.named and self._asked[-1].motion_id != motion_id):
            return False
        return (now_ns - self._silent_ns) * 1e-9 >= self.timeout_s
