import numpy as np
import pytest
from PIL import Image
from synthetic import chunks, handed, joints, recording, ticks, write_dump

pytest.importorskip("matplotlib")

from controller.follower import Mode
from controller.plot import draw
from controller.recording import Recording


def picture(path):
    return np.asarray(Image.open(path).convert("RGB"))


def test_the_plot_of_a_run_is_written_and_shows_something(tmp_path):
    late = np.random.default_rng(0).lognormal(11, 0.5, 100).astype(int).tolist()
    run = recording(tmp_path / "a", ticks=ticks(late), joints=joints(), handed=handed(), chunks=chunks())
    draw(run, "a test", tmp_path / "plot.png")
    full = picture(tmp_path / "plot.png")
    draw(recording(tmp_path / "b"), "a test", tmp_path / "empty.png")
    empty = picture(tmp_path / "empty.png")
    ink = [(image < 250).any(axis=2).mean() for image in (full, empty)]
    assert full.shape[0] > 1000
    assert full.shape[1] > 1000
    assert full.shape[0] > 1.5 * empty.shape[0], "panels without rows are left out"
    assert ink[0] > 0


def test_a_run_that_never_ticked_can_still_be_drawn(tmp_path):
    draw(recording(tmp_path / "a", joints=joints()), "a test", tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000


def test_a_command_beyond_a_limit_is_marked(tmp_path):
    rows = joints()
    draw(recording(tmp_path / "a", joints=rows), "a test", tmp_path / "good.png")
    rows["q_command"][200:, 0] += 0.02
    draw(recording(tmp_path / "b", joints=rows), "a test", tmp_path / "bad.png")
    red = [(picture(tmp_path / f"{name}.png") == (224, 0, 0)).all(axis=2).sum() for name in ("good", "bad")]
    assert red[1] > red[0]


def test_a_fault_is_a_red_line_and_braking_a_shade(tmp_path):
    rows = joints()
    draw(recording(tmp_path / "a", joints=rows), "a test", tmp_path / "run.png")
    rows["mode"][200:260] = Mode.BRAKE
    draw(Recording.load(write_dump(tmp_path, "tracking", joints=rows)), "a test", tmp_path / "fault.png")
    run, fault = picture(tmp_path / "run.png"), picture(tmp_path / "fault.png")

    def tall(image, colour):
        """Pixels of a colour in the column that has most of them."""
        return (image == colour).all(axis=2).sum(axis=0).max()

    assert tall(fault, (224, 0, 0)) > 100 > tall(run, (224, 0, 0))
    assert tall(fault, (248, 220, 220)) > 100 > tall(run, (248, 220, 220))
