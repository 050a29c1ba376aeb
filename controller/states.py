"""The state machine: four states, one table, no side effects. Pure; driven by the supervisor alone.

Guards look at a snapshot of facts that is handed in, so every (state, trigger) pair can be tested without
a robot. A refused trigger raises Refused with the reason and with the triggers that are allowed now.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from transitions import EventData, Machine

from controller.refused import Refused


class State(Enum):
    IDLE = "idle"
    HOMING = "homing"
    RUNNING = "running"
    FAULT = "fault"

    @property
    def code(self) -> int:
        """The byte in the permit record."""
        return list(State).index(self)


MOVING = frozenset({State.HOMING.code, State.RUNNING.code})
"""Codes of the states in which the permit allows motion."""


class Trigger(Enum):
    HOME = "home"
    JOG = "jog"
    ARRIVED = "arrived"
    RUN = "run"
    STOP = "stop"
    TRIP = "trip"
    RESET = "reset"


OPERATOR = (Trigger.HOME, Trigger.JOG, Trigger.RUN, Trigger.STOP, Trigger.RESET)
"""Triggers that an operator may ask for; the others come from the machine itself."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the guards look at. Each text is empty when all is well, else it says what is missing."""

    at_rest: bool
    robot_missing: str = ""
    run_missing: str = ""
    dry: bool = False
    """The run that is asked for commands nothing."""


NO_FACTS = Facts(at_rest=False, robot_missing="nothing is known", run_missing="nothing is known")
"""Every guard refuses on it; stop, trip and arrived have none."""


def _in_order(facts: Facts, _homed: bool) -> str:
    """motor, control and, where it is on, the guard alive; joint readings that can be believed; the arms at rest"""
    if facts.robot_missing:
        return facts.robot_missing
    return "" if facts.at_rest else "the arms are still braking"


def _may_run(facts: Facts, homed: bool) -> str:
    """what `home` needs; homed, unless it is a dry run; the policy server connected; every camera it wants alive
    at its rate; a first action chunk in hand"""
    if reason := _in_order(facts, homed):
        return reason
    if not homed and not facts.dry:
        return "not homed; home first"
    return facts.run_missing


Guard = Callable[[Facts, bool], str]

TRANSITIONS: tuple[tuple[Trigger, State, State, Guard | None], ...] = (
    (Trigger.HOME, State.IDLE, State.HOMING, _in_order),
    (Trigger.JOG, State.IDLE, State.HOMING, _in_order),
    (Trigger.ARRIVED, State.HOMING, State.IDLE, None),
    (Trigger.RUN, State.IDLE, State.RUNNING, _may_run),
    (Trigger.STOP, State.HOMING, State.IDLE, None),
    (Trigger.STOP, State.RUNNING, State.IDLE, None),
    (Trigger.TRIP, State.IDLE, State.FAULT, None),
    (Trigger.TRIP, State.HOMING, State.FAULT, None),
    (Trigger.TRIP, State.RUNNING, State.FAULT, None),
    (Trigger.RESET, State.FAULT, State.IDLE, _in_order),
)


class _Model:
    state: State
    trigger: Callable[..., bool]


class StateMachine:
    """`transitions` wrapped once: typed triggers, reasons instead of a silent False, the homed flag."""

    def __init__(self, on_change: Callable[[State, Trigger, State], None]) -> None:
        """on_change(before, trigger, after) runs after each change, in the supervisor's loop."""
        self._on_change = on_change
        self._model = _Model()
        self.homed = False
        self._jogging = False
        self._machine = Machine(
            model=self._model,
            states=State,
            initial=State.IDLE,
            auto_transitions=False,
            send_event=True,
            after_state_change=self._changed,
            transitions=[
                {
                    "trigger": trigger.value,
                    "source": source,
                    "dest": dest,
                    "conditions": [] if guard is None else [self._condition(guard)],
                }
                for trigger, source, dest, guard in TRANSITIONS
            ],
        )

    @property
    def state(self) -> State:
        return self._model.state

    def refusal(self, trigger: Trigger, facts: Facts = NO_FACTS) -> str:
        """Why `trigger` is refused now; empty when it is allowed."""
        rows = [row for row in TRANSITIONS if row[0] is trigger and row[1] is self.state]
        if not rows:
            return f"{trigger.value} is not possible in state {self.state.value}"
        guard = rows[0][3]
        return guard(facts, self.homed) if guard else ""

    def allowed(self, facts: Facts) -> list[str]:
        """Operator triggers that would be accepted now."""
        return [trigger.value for trigger in OPERATOR if not self.refusal(trigger, facts)]

    def fire(self, trigger: Trigger, facts: Facts = NO_FACTS) -> None:
        """Change the state, or raise Refused and change nothing. Triggers without a guard need no facts."""
        if reason := self.refusal(trigger, facts):
            raise Refused(reason, self.allowed(facts))
        self._model.trigger(trigger.value, facts=facts)

    def _condition(self, guard: Guard) -> Callable[[EventData], bool]:
        return lambda event: not guard(event.kwargs["facts"], self.homed)

    def _changed(self, event: EventData) -> None:
        transition: Any = event.transition  # never None after a change of state
        trigger = Trigger(event.event.name)
        before, after = State[transition.source], State[transition.dest]
        if after is State.HOMING:
            self._jogging = trigger is Trigger.JOG
        if trigger is Trigger.ARRIVED:
            self.homed = not self._jogging
        elif after is State.FAULT or trigger is Trigger.JOG:
            self.homed = False
        self._on_change(before, trigger, after)


def mermaid() -> str:
    """The table as a Mermaid state diagram, for the documentation; a test keeps both equal."""
    edges: dict[tuple[State, State], list[str]] = {}
    for trigger, source, dest, _ in TRANSITIONS:
        edges.setdefault((source, dest), []).append(trigger.value)
    lines = ["stateDiagram-v2", "    [*] --> idle"]
    lines += [f"    {a.value} --> {b.value}: {' | '.join(names)}" for (a, b), names in edges.items()]
    return "\n".join(lines)
