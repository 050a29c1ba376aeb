"""The plan as control tells it: the rows are the timeline, the policy's time can be had back, changes come at once."""

import numpy as np
from motion_rig import HOME, MS, SETTINGS, Rig, joints

from controller import layout
from controller.plan_record import PERIOD_NS, PlanWriter, fill, playback_of
from controller.planner import Phase
from controller.states import State


class Ring:
    """A ring and a wake-up in one, that keep what they get."""

    def __init__(self):
        self.records, self.woken = [], 0

    def writer(self):
        return self

    def write(self, record):
        self.records.append(record.copy())

    def set(self):
        self.woken += 1


def wave(n=50):
    return HOME + joints(0.3) * np.sin(2.0 * np.arange(n) / 50)[:, None]


def following(speed=1.0, rate_hz=50.0, n=50):
    rig = Rig(speed=speed)
    rig.run(wave(n), rate_hz)
    rig.advance(600)
    assert rig.planner.phase is Phase.FOLLOW
    return rig


def test_the_rows_are_what_is_left_of_the_timeline_seams_included():
    rig = following(speed=0.5)
    rig.receive(wave() + joints(0.02, 8), age_ms=40)
    record = np.zeros((), layout.PLAN)
    fill(record, rig.t_ns, rig.planner)
    planner = rig.planner
    tau_ns = int(record["tau_row0_ns"]) + int(record["dtau_ns"]) * np.arange(int(record["n_rows"]))
    q, qd = planner.timeline.sample(tau_ns)
    np.testing.assert_array_equal(record["q"][: len(q)], q)
    np.testing.assert_array_equal(record["qd"][: len(q)], qd)
    assert tau_ns[0] == planner.playback.at(rig.t_ns)
    assert tau_ns[-1] >= planner.timeline.end_ns > tau_ns[-3]
    assert record["chunk_id"] == planner.chunk_id == 2
    assert record["tau0_ns"] == planner.timeline.chunk.t0_ns
    assert record["ease"][8] == planner.ease.acceleration[8] < np.inf
    assert record["ease_until_ns"] == planner.ease.until_ns > tau_ns[0]


def test_a_long_chunk_fits_the_record():
    rig = following(rate_hz=30.0, n=layout.MAX_STEPS)
    record = np.zeros((), layout.PLAN)
    fill(record, rig.t_ns, rig.planner)
    assert 100 < record["n_rows"] <= layout.MAX_STEPS


def test_the_policys_time_can_be_had_back_at_any_speed():
    rig = following(speed=0.3)
    rig.speed = 0.8
    rig.advance(100)
    record = np.zeros((), layout.PLAN)
    fill(record, rig.t_ns, rig.planner)
    told = playback_of(record, SETTINGS.speed_ramp_s)
    assert told == rig.planner.playback
    assert 0.3 < told.speed(rig.t_ns) < 0.8


def test_homing_tells_its_goal_and_no_rows():
    rig = Rig(q_start=HOME + joints(0.4))
    rig.begin(State.HOMING)
    rig.advance(100)
    record = np.zeros((), layout.PLAN)
    fill(record, rig.t_ns, rig.planner)
    assert record["phase"] == Phase.HOMING
    assert record["n_rows"] == 0
    np.testing.assert_array_equal(record["goal"], HOME)


def test_it_is_told_at_every_change_and_every_tenth_of_a_second_besides():
    rig, ring = following(), Ring()
    writer = PlanWriter(ring, ring)

    def tell():
        before = len(ring.records)
        writer.tell(rig.t_ns, rig.planner)
        return len(ring.records) - before

    assert tell() == 1
    assert tell() == 0
    rig.receive(wave())
    assert tell() == 1
    rig.advance(50)
    assert tell() == 0
    rig.advance(PERIOD_NS // MS)
    assert tell() == 1
    rig.speed = 0.5
    rig.advance(21)
    assert tell() == 1
    rig.state = State.IDLE
    rig.advance(21)
    assert tell() == 1
    assert ring.records[-1]["phase"] == Phase.IDLE
    assert ring.woken == len(ring.records)
