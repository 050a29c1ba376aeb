import numpy as np
import pytest
from PIL import Image
from synthetic import handed, joints, recording, ticks

pytest.importorskip("matplotlib")

from controller.plot import draw


def picture(path):
    return np.asarray(Image.open(path).convert("RGB"))


def test_the_plot_of_a_run_is_written_and_shows_something(tmp_path):
    late = np.random.default_rng(0).lognormal(11, 0.5, 100).astype(int).tolist()
    run = recording(tmp_path / "a", ticks=ticks(late), joints=joints(), handed=handed())
    draw(run, "a test", tmp_path / "plot.png")
    full = picture(tmp_path / "plot.png")
    draw(recording(tmp_path / "b"), "a test", tmp_path / "empty.png")
    empty = picture(tmp_path / "empty.png")
    ink = [(image < 250).any(axis=2).mean() for image in (full, empty)]
    assert full.shape[0] > 1000
    assert full.shape[1] > 1000
    assert ink[0] > 1.3 * ink[1] > 0


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
