"""The configuration read again, in idle: applied whole or not at all. Part of the supervisor.

Nothing moves meanwhile, and the motor process is never touched: it holds the arms. What may change is in
`config_changes`; who must begin anew for it ends in order and is started with the new configuration.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from controller import logs
from controller.config import Config, ConfigError
from controller.config_changes import Changes, changes
from controller.config_use import usable
from controller.refused import Refused
from controller.states import State

if TYPE_CHECKING:
    from controller.supervisor import Supervisor

UP_TIMEOUT_S = 40.0
LOOK_S = 0.02

log = logging.getLogger(__name__)


class Reload:
    """At most one at a time."""

    def __init__(self, daemon: Supervisor) -> None:
        self._daemon = daemon
        self.under_way = False
        self._hung_up: asyncio.Task[None] | None = None  # kept: the loop itself forgets its tasks

    def hang_up(self) -> None:
        """SIGHUP. What becomes of it is in the log."""

        async def reload() -> None:
            with contextlib.suppress(Refused, TimeoutError):
                await self.run("SIGHUP")

        self._hung_up = asyncio.get_running_loop().create_task(reload())

    async def run(self, who: str) -> tuple[str, ...]:
        """Returns what has changed once it is in effect. Raises Refused, TimeoutError; both are in the log, too."""
        daemon = self._daemon
        daemon.announcer.reloading(time.monotonic_ns())  # also for a refusal: systemd waits for its end
        try:
            changed = await self._reload()
        except Refused as refused:
            text = f"reload asked for by {who} is refused, all stays as it was"
            log.error("%s: %s", text, refused.reason)  # noqa: TRY400  the administrator's matter, not a bug
            raise Refused(refused.reason, daemon.allowed()) from None
        except TimeoutError as error:
            log.error("reload asked for by %s: %s", who, error)  # noqa: TRY400
            raise
        text = "; ".join(changed) or "nothing has changed"
        log.info("reload asked for by %s: %s", who, text)
        daemon.publish("reload", text)
        return changed

    async def _reload(self) -> tuple[str, ...]:
        daemon = self._daemon
        if reason := daemon.busy():
            raise Refused(reason, [])
        self.under_way = True  # from here on nothing new begins
        try:
            await daemon.settle()
            self._require_idle()
            new, found = await self._read()
            self._require_idle()  # an emergency stop may have come
            self._apply(new, found)
            await self._up(found)
        finally:
            self.under_way = False
            daemon.orders.dismiss([])  # whoever has one of these pids later is not meant
        return found.changed

    def _require_idle(self) -> None:
        daemon = self._daemon
        if daemon.machine.state is not State.IDLE:
            raise Refused(f"in state {daemon.machine.state.value}; a reload needs idle", [])
        if not daemon.ready.at_rest():
            raise Refused(daemon.ready.missing("motor") or "the arms are still braking", [])

    async def _read(self) -> tuple[Config, Changes]:
        """In a thread: the disk may be slow, and the lease must be renewed."""
        daemon = self._daemon
        try:
            new = await asyncio.to_thread(usable, Path(daemon.config_path))
        except ConfigError as error:
            raise Refused(str(error), []) from None
        found = changes(daemon.config, new)
        if found.refused:
            raise Refused(f"only a restart changes {'; '.join(found.refused)}", [])
        return new, found

    def _apply(self, new: Config, found: Changes) -> None:
        daemon = self._daemon
        daemon.config = new
        for part in (daemon.children, daemon.inputs, daemon.ready):
            part.config = new
        logs.set_level(new.daemon.log_level)
        daemon.orders.log_at(new.daemon.log_level)
        daemon.orders.dismiss(daemon.children.dismiss(found.begin_anew, time.monotonic_ns()))

    async def _up(self, found: Changes) -> None:
        """Wait until those that begin anew have written their status. Raises TimeoutError."""
        daemon, deadline_ns = self._daemon, time.monotonic_ns() + round(1e9 * UP_TIMEOUT_S)
        while missing := daemon.children.awaited(found.begin_anew):
            if time.monotonic_ns() > deadline_ns:
                raise TimeoutError(f"applied, but {', '.join(missing)} did not begin anew within {UP_TIMEOUT_S:g} s")
            await asyncio.sleep(LOOK_S)
