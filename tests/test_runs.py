"""Runs as the supervisor conducts them: what it orders, tells and refuses. Its children are status records by hand."""

import asyncio
import contextlib
import json
import logging

import numpy as np
import pytest
import supervisor_rig

from controller import layout
from controller.faults import FaultCode
from controller.refused import Refused
from controller.run_options import RunOptions, Seam, playable
from controller.states import State

PROMPT = "put the lighter into the cup"
SERVER = {"cameras": ["cam_high"], "extensions": ["request_id"]}


class Rig(supervisor_rig.Rig):
    """A supervisor whose children beat, rest and deliver when the test says so."""

    def __init__(self):
        config = supervisor_rig.configuration()
        policy = config.policy.model_copy(update={"execution_horizon": 7})
        control = config.control.model_copy(update={"seam": "ensemble"})
        super().__init__(config.model_copy(update={"policy": policy, "control": control}))
        self.daemon, self.records = self.supervisor, self.status
        self.serve(SERVER)

    def serve(self, server):
        self.records["link"]["connected"] = 1
        self.records["link"]["server"] = json.dumps(server).encode()
        self.look()

    def deliver(self):
        self.records["link"]["first_chunk_motion_id"] = self.daemon.orders.motion_id
        self.look()

    async def run(self, options, *, chunk=True):
        task = asyncio.ensure_future(self.daemon.run(PROMPT, options))
        while self.daemon.runs.preparing is None and not task.done():
            self.look()
            await asyncio.sleep(0)
        if chunk:
            self.deliver()
            await task
        return task

    async def beating(self, work):
        """Carry out a command while the children go on."""
        task = asyncio.ensure_future(work)
        while not task.done():
            self.look()
            await asyncio.sleep(0.001)
        return task.result()

    def homed(self):
        self.daemon.machine.homed = True

    def read(self, ring):
        record = self.daemon.owned.rings[ring].blank()
        assert self.daemon.owned.rings[ring].reader().newest(record)
        return record

    @property
    def permit(self):
        return self.read("permit")

    @property
    def order(self):
        return self.read("link_order")

    def events(self, kind):
        subscription = self.daemon.events()
        kept = self.daemon.bus.enter(subscription)
        self.daemon.bus.leave(subscription)
        return [event for event in kept if event["kind"] == kind]


@pytest.fixture
def rig():
    made = Rig()
    yield made
    made.daemon.owned.close()


def orders_of(permit, order):
    """Everything in the two records that says how to play."""
    return (
        *(Seam(int(permit["seam"])), float(permit["speed"]), bool(permit["dry"])),
        *(Seam(int(order["seam"])), int(order["execution_horizon"])),
        *(int(order["motion_id"]), layout.text(order["prompt"])),
    )


def test_a_run_is_ordered_as_it_was_asked_for(rig):
    rig.homed()
    options = RunOptions(Seam.SWITCH, 0.3, execution_horizon=12)
    asyncio.run(rig.run(options))
    motion_id = rig.daemon.orders.motion_id
    assert orders_of(rig.permit, rig.order) == (Seam.SWITCH, 0.3, False, Seam.SWITCH, 12, motion_id, PROMPT)
    assert (int(rig.permit["state"]), int(rig.permit["motion_id"])) == (State.RUNNING.code, motion_id)
    status = rig.daemon.status()
    assert (status["state"], status["prompt"], status["dry"]) == ("running", PROMPT, False)
    assert status["run"] == options.described() | {"seam_asked": "switch", "seam_reason": None}


@pytest.mark.parametrize(("horizon", "told", "fits"), [(48, 50, True), (49, 50, False), (127, None, True)])
def test_a_horizon_that_leaves_nothing_of_a_chunk_is_refused(rig, horizon, told, fits):
    rig.homed()
    rig.serve(SERVER | {"action_horizon": told})
    refused = pytest.raises(Refused, match=r"execution_horizon = 49 leaves nothing of a chunk of 50 .*bound 48")
    with contextlib.nullcontext() if fits else refused:
        asyncio.run(rig.run(RunOptions(execution_horizon=horizon)))
    assert rig.daemon.status()["state"] == ("running" if fits else "idle")
    assert rig.daemon.status()["preparing"] is None


def test_what_is_usual_comes_from_the_configuration(rig):
    assert rig.daemon.usual_options() == RunOptions(Seam.ENSEMBLE, 1.0, dry=False, execution_horizon=7)


def test_the_next_motion_is_neither_dry_nor_slow(rig):
    async def play():
        await rig.run(RunOptions(speed=0.1, dry=True))
        await rig.beating(rig.daemon.stop())
        assert rig.daemon.status()["run"] is None
        await rig.beating(rig.daemon.home(1.0))

    asyncio.run(play())
    assert (float(rig.permit["speed"]), bool(rig.permit["dry"])) == (1.0, False)
    assert int(rig.permit["state"]) == State.HOMING.code


def test_a_dry_run_begins_unhomed_and_says_what_it_is(rig):
    with pytest.raises(Refused, match="not homed"):
        asyncio.run(rig.run(RunOptions()))
    asyncio.run(rig.run(RunOptions(dry=True)))
    status = rig.daemon.status()
    assert (status["state"], status["dry"], status["homed"], bool(rig.permit["dry"])) == ("running", True, False, True)
    asyncio.run(rig.beating(rig.daemon.stop()))
    status = rig.daemon.status()
    assert (status["state"], status["dry"], status["homed"], status["run"]) == ("idle", False, False, None)


def test_a_dry_run_is_shown_while_it_is_prepared(rig):
    async def play():
        task = await rig.run(RunOptions(dry=True), chunk=False)
        status = rig.daemon.status()
        await rig.beating(rig.daemon.stop())
        with pytest.raises(Refused, match="stopped while waiting"):
            await rig.beating(task)
        return status

    status = asyncio.run(play())
    assert (status["state"], status["preparing"], status["dry"]) == ("idle", PROMPT, True)
    assert int(rig.order["motion_id"]) == 0


@pytest.mark.parametrize("offered", [True, False])
def test_rtc_is_ordered_where_it_is_offered_and_blend_aloud_where_it_is_not(rig, caplog, offered):
    rig.homed()
    rig.serve(SERVER | {"extensions": ["request_id", *(["rtc"] if offered else [])]})
    asyncio.run(rig.run(RunOptions(Seam.RTC)))
    played = Seam.RTC if offered else Seam.BLEND
    why = "the policy server does not offer rtc"
    assert Seam(int(rig.permit["seam"])) == Seam(int(rig.order["seam"])) == played
    run = rig.daemon.status()["run"]
    assert (run["seam_asked"], run["seam"], run["seam_reason"]) == ("rtc", played.word, None if offered else why)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert said == ([] if offered else [f"seam=blend asked=rtc: {why}"])
    assert [event["text"] for event in rig.events("seam")] == ([] if offered else [f"blend instead of rtc: {why}"])


@pytest.mark.parametrize("seam", [seam for seam in Seam if seam is not Seam.RTC])
def test_no_other_seam_asks_anything_of_the_server(seam):
    options = RunOptions(seam, 0.2, dry=True, execution_horizon=3)
    assert playable(options, rtc_offered=False) == (options, "")


def test_adjust_changes_only_what_it_names_and_at_once(rig):
    rig.homed()
    asyncio.run(rig.run(RunOptions(Seam.ENSEMBLE, 1.0, execution_horizon=12)))
    motion_id, before_ns = rig.daemon.orders.motion_id, int(rig.permit["t_ns"])
    asyncio.run(rig.daemon.adjust(0.3, None))
    assert int(rig.permit["t_ns"]) > before_ns, "the permit is written now, not at the next renewal"
    assert orders_of(rig.permit, rig.order) == (Seam.ENSEMBLE, 0.3, False, Seam.ENSEMBLE, 12, motion_id, PROMPT)
    asyncio.run(rig.daemon.adjust(None, Seam.SWITCH))
    assert orders_of(rig.permit, rig.order) == (Seam.SWITCH, 0.3, False, Seam.SWITCH, 12, motion_id, PROMPT)
    assert (int(rig.permit["state"]), int(rig.permit["motion_id"])) == (State.RUNNING.code, motion_id)
    events = rig.events("adjust")
    assert [event["text"] for event in events] == ["speed 0.3, seam ensemble", "speed 0.3, seam switch"]
    assert (events[1]["motion_id"], events[1]["speed"], events[1]["seam"]) == (motion_id, 0.3, "switch")
    assert rig.daemon.status()["run"]["speed"] == 0.3


def test_a_dry_run_stays_dry_however_it_is_adjusted(rig):
    asyncio.run(rig.run(RunOptions(dry=True)))
    asyncio.run(rig.daemon.adjust(0.5, Seam.SWITCH))
    assert bool(rig.permit["dry"])
    assert rig.daemon.status()["dry"]


def test_adjusting_to_rtc_is_decided_and_said_anew_once(rig):
    rig.homed()
    asyncio.run(rig.run(RunOptions(Seam.SWITCH)))
    asyncio.run(rig.daemon.adjust(None, Seam.RTC))
    asyncio.run(rig.daemon.adjust(0.5, None))
    assert Seam(int(rig.permit["seam"])) is Seam.BLEND
    assert rig.daemon.status()["run"]["seam_asked"] == "rtc"
    assert len(rig.events("seam")) == 1


def test_adjust_is_refused_where_no_run_goes_on(rig):
    async def play():
        with pytest.raises(Refused, match="adjust is not possible in state idle; it changes a run that goes on"):
            await rig.daemon.adjust(0.5, None)
        task = await rig.run(RunOptions(dry=True), chunk=False)
        with pytest.raises(Refused, match="state idle: it is still being prepared"):
            await rig.daemon.adjust(0.5, None)
        await rig.beating(rig.daemon.stop())
        with contextlib.suppress(Refused):
            await rig.beating(task)
        await rig.beating(rig.daemon.home(1.0))
        before = rig.permit.copy()
        with pytest.raises(Refused, match="state homing") as refused:
            await rig.daemon.adjust(0.5, Seam.SWITCH)
        assert refused.value.allowed == ["stop"]
        np.testing.assert_array_equal(rig.permit, before)

    asyncio.run(play())
    assert rig.events("adjust") == []


def test_a_fault_ends_the_run_and_its_order(rig):
    rig.homed()
    asyncio.run(rig.run(RunOptions()))
    rig.daemon.trip(FaultCode.ESTOP, "by a test")
    assert int(rig.order["motion_id"]) == 0
    assert (rig.daemon.runs.current, rig.daemon.status()["run"]) == (None, None)
    with pytest.raises(Refused, match="state fault"):
        asyncio.run(rig.daemon.adjust(0.5, None))


def test_a_fault_while_a_run_is_prepared_refuses_it_with_the_faults_words(rig):
    async def play():
        task = await rig.run(RunOptions(dry=True), chunk=False)
        rig.daemon.trip(FaultCode.ESTOP, "by a test")
        with pytest.raises(Refused, match="emergency stop: by a test"):
            await rig.beating(task)

    asyncio.run(play())
    assert int(rig.order["motion_id"]) == 0


def test_a_server_that_is_lost_while_a_run_is_prepared_refuses_it(rig):
    async def play():
        task = await rig.run(RunOptions(dry=True), chunk=False)
        rig.records["link"]["connected"] = 0
        rig.records["link"]["error"] = b"connection refused"
        with pytest.raises(Refused, match=r"no connection to the policy server at ws://.*: connection refused"):
            await rig.beating(task)

    asyncio.run(play())
    assert int(rig.order["motion_id"]) == 0
    assert rig.daemon.runs.current is None
