"""An operator's run, from the asking to its end: prepared, played, adjusted. Part of the supervisor.

A run is prepared while the link asks for its first actions, and played from then on. Must always hold: whatever ends
a run or its preparation also ends the link's order, and nothing that was asked for is weakened in silence.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from controller import layout
from controller.refused import Refused
from controller.run_options import RunOptions, Seam, playable, too_long
from controller.states import State, Trigger
from controller.status import server_of
from policy_server.protocol import RTC

if TYPE_CHECKING:
    from controller.supervisor import Supervisor

LOOK_S = 0.02

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Run:
    """asked, options: as the operator wants it, and as it is played. reason: why these differ, if they do."""

    motion_id: int
    prompt: str
    asked: RunOptions
    options: RunOptions
    reason: str

    def described(self) -> dict[str, Any]:
        """The status document's section."""
        return {
            **self.options.described(),
            "seam_asked": self.asked.seam.word,
            "seam_reason": self.reason or None,
        }


class Runs:
    """At most one is prepared or played."""

    def __init__(self, daemon: Supervisor) -> None:
        self._daemon = daemon
        self.preparing: Run | None = None
        self.playing: Run | None = None

    @property
    def current(self) -> Run | None:
        """Prepared or played."""
        return self.playing or self.preparing

    async def begin(self, prompt: str, asked: RunOptions) -> None:
        """Returns once running. Raises Refused; a stop meanwhile refuses it too."""
        daemon = self._daemon
        await daemon.settle()
        daemon.require(Trigger.RUN, dry=asked.dry)
        if why := too_long(asked, self._server().get("action_horizon")):
            raise Refused(why, daemon.allowed())
        options, reason = self._playable(asked)
        run = self.preparing = Run(daemon.orders.begin_motion(options=options), prompt, asked, options, reason)
        daemon.story.asked(prompt, ", ".join(f"{name} {value}" for name, value in options.described().items()))
        try:
            self._ask_policy(run)
            self._tell_of_less(run)
            await self._first_chunk(run)
            daemon.machine.fire(Trigger.RUN, daemon.facts(dry=asked.dry))
            self.preparing, self.playing = None, run
        finally:
            if self.preparing is run:
                self.end()

    def adjust(self, speed: float | None, seam: Seam | None) -> None:
        """Play the run that goes on in another way from now on. Raises Refused where none does."""
        daemon, run = self._daemon, self.playing
        if run is None:
            waits = ": it is still being prepared" if self.preparing else ""
            text = f"adjust is not possible in state {daemon.machine.state.value}{waits}; it changes a run that goes on"
            raise Refused(text, daemon.allowed())
        asked = replace(
            run.asked,
            speed=run.asked.speed if speed is None else speed,
            seam=run.asked.seam if seam is None else seam,
        )
        options, reason = self._playable(asked)
        run = self.playing = replace(run, asked=asked, options=options, reason=reason)
        daemon.orders.play(options)
        daemon.orders.renew()
        self._ask_policy(run)
        text = f"speed {options.speed:g}, seam {options.seam.word}"
        daemon.publish("adjust", text, motion_id=run.motion_id, **run.described())
        log.info("adjust motion_id=%d speed=%g seam=%s", run.motion_id, options.speed, options.seam.word)
        if seam is not None:
            self._tell_of_less(run)

    def end(self) -> None:
        """Nothing is prepared or played any more; the link asks for nothing."""
        self.preparing = self.playing = None
        self._daemon.orders.ask_policy(0, "")

    def _playable(self, asked: RunOptions) -> tuple[RunOptions, str]:
        """By what the server said when it was connected; a connection that is lost ends the run it was for."""
        return playable(asked, rtc_offered=RTC in self._server().get("extensions", ()))

    def _server(self) -> dict[str, Any]:
        """What the server said of itself."""
        return server_of(self._daemon.children["link"].status) or {}

    def _ask_policy(self, run: Run) -> None:
        self._daemon.orders.ask_policy(run.motion_id, run.prompt, run.options)

    def _tell_of_less(self, run: Run) -> None:
        if not run.reason:
            return
        text = f"{run.options.seam.word} instead of {run.asked.seam.word}: {run.reason}"
        self._daemon.publish("seam", text, motion_id=run.motion_id, **run.described())
        log.warning("seam=%s asked=%s: %s", run.options.seam.word, run.asked.seam.word, run.reason)

    async def _first_chunk(self, run: Run) -> None:
        """Wait until the link has delivered a chunk for this run. Raises Refused.

        Returns in the same turn of the loop in which everything was found in order: no stop comes between.
        """
        daemon = self._daemon
        link = daemon.children["link"].status
        bound_s = daemon.config.policy.first_answer_timeout_s
        deadline_ns = time.monotonic_ns() + round(1e9 * bound_s)
        while True:
            if daemon.machine.state is not State.IDLE and daemon.fault is not None:
                raise Refused(daemon.fault["message"], daemon.allowed())
            if self.preparing is not run:
                raise Refused("stopped while waiting for the first actions", daemon.allowed())
            if int(link["first_chunk_motion_id"]) == run.motion_id:
                return
            reason = daemon.ready.missing_for_run()
            if link["fault"] and int(link["fault_motion_id"]) == run.motion_id:
                reason = layout.text(link["fault_text"])
            elif time.monotonic_ns() > deadline_ns:
                reason = reason or f"no first actions within {bound_s:g} s; look at the policy server's log"
            elif link["connected"]:
                reason = ""
            if reason:
                self.end()
                raise Refused(reason, daemon.allowed())
            daemon.attention.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(daemon.attention.wait(), LOOK_S)
