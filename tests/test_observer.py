"""An observation is the newest of every camera and the joints at the oldest of their exposures."""

import numpy as np
import pytest

from controller import layout
from controller.board import frame_ring
from controller.observer import Observer
from shm import Owner, Ring, RingSpec

MS = 1_000_000


class Board:
    """The rings that the observer opens, made here."""

    def __init__(self, cameras):
        owner = Owner.current()
        frame = layout.frame(4, 6, 8)
        specs = [RingSpec(frame_ring(name), frame, 4, 1) for name in cameras]
        specs += [RingSpec("joints", layout.JOINTS, 64, 1), RingSpec("world", layout.WORLD, 4, 1)]
        self.rings = {spec.name: Ring.create(owner, spec) for spec in specs}
        self.writers = {name: ring.writer() for name, ring in self.rings.items()}

    def open(self, name):
        return self.rings[name]

    def frame(self, camera, t_ms, shade):
        record = self.rings[frame_ring(camera)].blank()
        record["t_exposure_ns"], record["t_arrival_ns"] = t_ms * MS, (t_ms + 3) * MS
        record["rate_hz"] = 30.0
        record["tile"] = shade
        self.writers[frame_ring(camera)].write(record)

    def joints(self, t_ms, q):
        record = self.rings["joints"].blank()
        record["t_ns"], record["q"] = t_ms * MS, q
        self.writers["joints"].write(record)

    def world(self, values):
        record = self.rings["world"].blank()
        record["n_environment"] = len(values)
        record["environment"][: len(values)] = values
        self.writers["world"].write(record)


@pytest.fixture
def board():
    made = Board(["cam_high", "cam_low"])
    yield made
    for ring in made.rings.values():
        ring.close()
        ring.unlink()


def test_it_takes_the_newest_frames_and_the_joints_nearest_the_oldest_exposure(board):
    observer = Observer(board, ("cam_high", "cam_low"), with_environment=False)
    for t_ms in range(0, 100, 5):
        board.joints(t_ms, t_ms)
    for t_ms, shade in ((10, 1), (43, 2)):
        board.frame("cam_high", t_ms, shade)
    board.frame("cam_low", 61, 9)
    seen = observer.observe("put it in")
    assert seen.request["prompt"] == "put it in"
    assert set(seen.request) == {"state", "images", "prompt"}
    assert {name: int(tile.max()) for name, tile in seen.request["images"].items()} == {"cam_high": 2, "cam_low": 9}
    np.testing.assert_array_equal(seen.request["state"], np.full(14, 45.0))
    assert seen.t_observation_ns == 45 * MS
    assert (seen.t_exposure_oldest_ns, seen.t_exposure_newest_ns) == (43 * MS, 61 * MS)
    assert seen.t_frame_ns == 64 * MS
    assert seen.spread_s == pytest.approx(0.018)
    assert seen.slowest_hz == 30.0


def test_it_waits_for_a_fresh_frame_of_every_camera(board):
    board.joints(0, 0.0)
    board.frame("cam_high", 0, 1)
    board.frame("cam_low", 0, 1)
    observer = Observer(board, ("cam_high", "cam_low"), with_environment=False)
    assert observer.waiting_for() == ["cam_high", "cam_low"], "frames from before do not count"
    board.frame("cam_high", 33, 1)
    assert observer.waiting_for() == ["cam_low"]
    board.frame("cam_low", 34, 1)
    assert observer.waiting_for() == []
    observer.observe("x")
    assert observer.waiting_for() == ["cam_high", "cam_low"]


def test_an_exposure_older_than_the_joint_history_gets_the_oldest_reading(board):
    for t_ms in range(500, 1500, 5):
        board.joints(t_ms, t_ms)
    board.frame("cam_high", 10, 1)
    observer = Observer(board, ("cam_high",), with_environment=False)
    seen = observer.observe("x")
    assert 1495 - 64 * 5 <= seen.t_observation_ns / MS <= 1495 - 62 * 5


def test_a_reading_that_two_commands_were_made_by_ends_no_search(board):
    for t_ms in (5, 10, 15, 15, 20, 20):
        board.joints(t_ms, t_ms)
    observer = Observer(board, ("cam_high",), with_environment=False)
    board.frame("cam_high", 9, 1)
    assert observer.observe("x").t_observation_ns == 10 * MS


def test_the_scene_is_told_to_servers_that_want_it(board):
    board.joints(0, 0.0)
    board.frame("cam_high", 0, 1)
    board.world([1.0, 2.0, 3.0])
    seen = Observer(board, ("cam_high",), with_environment=True).observe("x")
    np.testing.assert_array_equal(seen.request["environment_state"], [1.0, 2.0, 3.0])


def test_pictures_are_sent_as_the_encoder_makes_them(board):
    board.joints(0, 0.0)
    board.frame("cam_high", 0, 7)
    seen = Observer(board, ("cam_high",), with_environment=False, encode=lambda tile: tile.tobytes()[:2]).observe("x")
    assert seen.request["images"] == {"cam_high": b"\x07\x07"}


def test_without_a_joint_reading_there_is_no_observation(board):
    board.frame("cam_high", 0, 1)
    with pytest.raises(RuntimeError, match="no joint reading"):
        Observer(board, ("cam_high",), with_environment=False).observe("x")
