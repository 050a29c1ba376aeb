"""The answer to an operator who asks for what the present state does not allow. Pure."""

from __future__ import annotations

from collections.abc import Sequence


class Refused(Exception):
    """A command was not carried out and changed nothing.

    reason: why, in one sentence that names the missing condition.
    allowed: the commands that would be taken now.
    """

    def __init__(self, reason: str, allowed: Sequence[str]) -> None:
        super().__init__(reason)
        self.reason = reason
        self.allowed = list(allowed)
