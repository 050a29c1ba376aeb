"""A stop ends what has begun and what was asked for before it: who is told that the arms rest, finds them so."""

import asyncio

import pytest
from supervisor_rig import Rig

from controller.follower import Mode
from controller.jog import Jog
from controller.refused import Refused
from controller.run_options import RunOptions
from controller.states import State


@pytest.fixture
def rig():
    made = Rig()
    yield made
    made.close()


async def beating(rig, *tasks):
    """Until these are done, the children go on."""
    while not all(task.done() for task in tasks):
        rig.look()
        await asyncio.sleep(0.001)


ASKED = {
    "home": lambda daemon: daemon.home(1.0),
    "jog": lambda daemon: daemon.jog(Jog("left_joint_1", 0.01), 0.1),
    "run": lambda daemon: daemon.run("go", RunOptions()),
    "scene": lambda daemon: daemon.lay_out_scene(7),
}


@pytest.mark.parametrize("name", ASKED)
def test_what_waits_for_the_arms_to_come_to_rest_is_stopped_too(rig, name):
    """They still brake when the command comes, and rest when the stop is answered."""
    daemon = rig.supervisor
    daemon.machine.homed = True

    async def play():
        rig.status["motor"]["mode"] = Mode.BRAKE
        rig.look()
        asked = asyncio.ensure_future(ASKED[name](daemon))
        await asyncio.sleep(0.005)
        assert not asked.done()
        stop = asyncio.ensure_future(daemon.stop())
        await asyncio.sleep(0)
        rig.status["motor"]["mode"] = Mode.HOLD
        await beating(rig, asked, stop)
        assert stop.exception() is None
        return asked.exception()

    before = daemon.orders.motion_id
    refused = asyncio.run(play())
    assert isinstance(refused, Refused)
    assert refused.reason == "stopped before it began"
    assert daemon.machine.state is State.IDLE
    assert daemon.orders.motion_id == before


def test_a_stop_before_a_command_does_not_count_against_it(rig):
    async def play():
        await beating(rig, asyncio.ensure_future(rig.supervisor.stop()))
        await beating(rig, asked := asyncio.ensure_future(rig.supervisor.home(1.0)))
        asked.result()

    asyncio.run(play())
    assert rig.state is State.HOMING
