"""The interface every policy implements: what the server needs to answer requests, nothing about the wire.

The server calls a policy and its sessions from one worker thread, one call at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from policy_server.protocol import ServerInfo

Observation = dict[str, Any]
"""One decoded request: text keys; arrays are read-only."""


class ObservationError(ValueError):
    """An observation the policy cannot use. The text names the key, the value and what to send instead."""


class Session(ABC):
    """One client's conversation with a policy; whatever the policy remembers of it lives here."""

    @abstractmethod
    def infer(self, observation: Observation) -> dict[str, Any]:
        """The reply to one observation: at least `actions`, float64 of shape (horizon, action_dim).

        Actions are absolute joint positions in rad, grippers in m, one row per 1 / action_rate_hz.
        A reply may time itself: `policy_timing`, a map of durations in ms: `infer_ms`, `transform_ms`, `device_ms`
        and others. Must not change the observation. Raises ObservationError.
        """


class Policy(ABC):
    """A policy that answers observations with chunks of actions."""

    info: ServerInfo
    """What the policy says of itself; the server adds its own name and the extensions it provides itself."""

    @abstractmethod
    def new_session(self) -> Session:
        """A session for one new connection, with no memory of any other."""

    def warm_up(self, say: Callable[[str], None]) -> None:  # noqa: B027 - many policies have nothing to warm up
        """Do what would make the first answers late, such as compiling every shape. Called once, before any session.

        say: takes a line about the progress. An error raised here ends the server.
        """
