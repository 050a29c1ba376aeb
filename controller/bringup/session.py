"""One bring-up: asks before every motion, says what is to be seen, and writes down who confirmed it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from controller.bringup import steps
from controller.bringup.directions import expected
from controller.bringup.history import CONFIRMED, FAILED, REFUSED, Entry, History, confirmed, named
from controller.bringup.judge import farthest, jogs, told
from controller.bringup.motions import HOME_SPEED, JOG_SPEED, Motions, StepFailed
from controller.bringup.talk import agreed, say, show
from controller.bringup.talk import told as answered
from controller.client import Client
from controller.exits import Exit
from controller.refused import Refused
from controller.robots.base import JOINT_NAMES, Vector
from controller.summary import fault_lines, joint_label, look_up

SLOW = 0.2


@dataclass(frozen=True, slots=True)
class Wishes:
    """begin: the first step after the checklist. prompt: asked for when it is needed. picture: where to draw one."""

    begin: str = steps.READING
    prompt: str = ""
    seconds: float = 20.0
    picture: Path | None = None


class NotAgreed(Exception):
    """The person said no. The text says to what."""


class Session:
    """With the daemon behind `client`."""

    def __init__(self, client: Client, history: History, wishes: Wishes, timeout_s: float) -> None:
        self._motions = Motions(client, timeout_s)
        self._history, self._wishes = history, wishes
        self._prompt = wishes.prompt
        status = self._motions.status()
        self._status = status
        self._about = {
            "robot": str(look_up(status, "robot", "kind")),
            "config": named(status),
            "version": str(status.get("version")),
        }
        self._calls: dict[str, Callable[[], dict[str, Any]]] = {
            steps.CHECKLIST: self._checklist,
            steps.READING: self._reading,
            steps.HOME: self._home,
            steps.DRY_RUN: self._dry_run,
            steps.SLOW_RUN: lambda: self._run(SLOW),
            steps.FULL_RUN: lambda: self._run(1.0),
        }

    def hold(self) -> Exit:
        """From the checklist to the end, or to the first step that is refused or fails."""
        say("Bring-up of robot {robot}, {config}, version {version}.".format(**self._about))
        done = confirmed(self._history.entries(), **self._about)
        if lacking := steps.missing(self._wishes.begin, done):
            say(f"'{self._wishes.begin}' comes after '{lacking[0]}', which nobody has confirmed yet: begin there.")
            return Exit.REFUSED
        if self._status.get("fault"):
            say("\n".join(("The daemon is in a fault; reset it first.", *fault_lines(self._status["fault"]))))
            return Exit.FAULT
        for step in (steps.CHECKLIST, *steps.STEPS[max(steps.STEPS.index(self._wishes.begin), 1) :]):
            say(f"\n== {step}")
            if (ending := self._step(step)) is not Exit.DONE:
                say(f"It ends here. Go on later with: pi0ctl bring-up --from '{step}'")
                return ending
        say("\nAll steps are confirmed. Who confirmed what: pi0ctl bring-up --history")
        return Exit.DONE

    def _step(self, step: str) -> Exit:
        try:
            values = self._calls[step]() if step in self._calls else self._jog(step.removeprefix("jog "))
        except NotAgreed as no:
            self._remember(step, REFUSED, {"to": str(no)})
            return Exit.REFUSED
        except Refused as refused:
            self._remember(step, FAILED, {"refused": refused.reason})
            say(f"refused: {refused.reason}")
            return Exit.REFUSED
        except StepFailed as failure:
            self._remember(step, FAILED, {"why": str(failure)})
            say(str(failure))
            return Exit.FAULT if failure.fault else Exit.REFUSED
        except BaseException as error:  # Ctrl-C, a time-out, a daemon that is gone: it is told by pi0ctl
            self._remember(step, FAILED, {"why": str(error) or type(error).__name__})
            raise
        self._remember(step, CONFIRMED, values)
        return Exit.DONE

    def _remember(self, step: str, result: str, values: dict[str, Any]) -> None:
        self._history.add(Entry(step, result, values=values, **self._about))

    # ---- the steps -------------------------------------------------------------------------------------------

    def _checklist(self) -> dict[str, Any]:
        sentences = steps.checklist(self._status)
        for sentence in sentences:
            _agree(sentence)
        return {"agreed": list(sentences)}

    def _reading(self) -> dict[str, Any]:
        q = self._motions.q()
        lower, upper = (np.array(look_up(self._status, "robot", name)) for name in ("lower", "upper"))
        rows = [
            (joint_label(name), told(i, q[i]), told(i, lower[i]), told(i, upper[i]))
            for i, name in enumerate(JOINT_NAMES)
        ]
        show([("joint", "is at", "from", "to"), *rows])
        say(steps.POSES)
        if self._wishes.picture is not None:
            _draw(self._wishes.picture, q)
        _agree("Nothing moves yet. Do both arms stand as the numbers say, each joint?")
        return {"q": q.round(4).tolist()}

    def _jog(self, joint: str) -> dict[str, Any]:
        lower, upper = (np.array(look_up(self._status, "robot", name)) for name in ("lower", "upper"))
        held = np.array(look_up(self._motions.status(), "robot", "q_command"), dtype=np.float64)
        jog = next(jog for jog in jogs(held, lower, upper) if jog.joint == joint)
        says = f"{joint} by {told(jog.index, jog.by)} at {JOG_SPEED:.0%} of the speed of homing, and back"
        _agree(f"{says}.\n{expected(jog)}.\nHands off. Shall it move?")
        values = self._motions.jog(jog)
        say(f"The reading moved by {told(jog.index, values['moved'])}.")
        _agree(f"Did you see it: {expected(jog)}?")
        self._motions.jog(jog, back=True)
        return values

    def _home(self) -> dict[str, Any]:
        _agree(f"Both arms move home at {HOME_SPEED:.0%}. Hands off. Shall they move?")
        values = self._motions.home()
        _agree("Are both arms at home, and was the way there clear?")
        return values

    def _dry_run(self) -> dict[str, Any]:
        prompt = self._asked_prompt()
        _agree(f"Dry run of {self._wishes.seconds:g} s, '{prompt}': the policy is followed and nothing moves. Begin?")
        q = self._motions.q()
        far = farthest(q, self._motions.dry_run(prompt, self._wishes.seconds))
        rows = [
            (joint_label(name), told(i, q[i]), told(i, far[i]), told(i, far[i] - q[i]))
            for i, name in enumerate(JOINT_NAMES)
        ]
        show([("joint", "is at", "would go to", "that is"), *rows])
        say("The policy saw arms that stand still all the while: a real run goes on from there.")
        _agree("Is that what this task asks of the arms?")
        return {"prompt": prompt, "farthest": far.round(4).tolist()}

    def _run(self, speed: float) -> dict[str, Any]:
        prompt, seconds = self._asked_prompt(), self._wishes.seconds
        _agree(f"The arms follow the policy at {speed:.0%} for {seconds:g} s, '{prompt}'. Hands off. Shall they move?")
        values = self._motions.run(prompt, speed, seconds)
        _agree("Did they move well?")
        return values

    def _asked_prompt(self) -> str:
        self._prompt = self._prompt or answered("The task in words, as in the training data:")
        if not self._prompt:
            raise NotAgreed("no prompt")
        return self._prompt


def _agree(question: str) -> None:
    if not agreed(question):
        raise NotAgreed(question)


def _draw(path: Path, q: Vector) -> None:
    from controller.cameras.base import CameraError

    try:
        from controller.sim.portrait import draw

        draw(path, q)
    except (CameraError, ImportError, OSError) as error:
        say(f"There is no picture: {error}")
    else:
        say(f"{path} shows the kit at these joints, seen from the camera post.")
