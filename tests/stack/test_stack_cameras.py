"""A real daemon whose four cameras play recorded files; one of them is taken away and given back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from harness import check_smooth, daemon, running_fast, works_again
from PIL import Image
from servers import METADATA, server

from controller.config_camera import CAMERA_NAMES
from policy_server.protocol import pack

pytestmark = pytest.mark.stack

WIDTH, HEIGHT = 64, 48


def film(folder: Path) -> None:
    """Three seconds of 30 Hz, a bar that wanders."""
    folder.mkdir()
    for number in range(90):
        picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        picture[:, number % WIDTH] = 250
        Image.fromarray(picture).save(folder / f"{number:03d}.jpg", quality=95)


@pytest.mark.raises_fault("camera_lost", "running")
def test_recorded_cameras_drive_a_run_and_one_that_is_taken_away_is_named_and_comes_back(tmp_path: Path) -> None:
    for name in CAMERA_NAMES:
        film(tmp_path / name)
    table = '[cameras.{0}]\nkind = "file"\npath = "{1}/{0}"\nwidth = 64\nheight = 48\n'
    changes = {
        f'[cameras.{name}]\nkind = "pattern"\nwidth = 64\nheight = 48\n': "" for name in ("cam_low", "cam_left_wrist")
    } | {"[recorder]": "".join(table.format(name, tmp_path) for name in CAMERA_NAMES) + "[recorder]"}
    four = pack(METADATA | {"cameras": list(CAMERA_NAMES)})
    with server(metadata=four) as url, daemon(tmp_path, url, **changes) as running:
        tap = running_fast(running)
        cameras = running.status()["cameras"]
        assert set(cameras) == set(CAMERA_NAMES)
        for name, row in cameras.items():
            assert row["frames"] > 0, name
            assert row["repeated"] == row["backwards"] == 0, name
            print(f"{name}: {row['frames']} frames, {row['skipped']} skipped, newest {row['frame_age_ms']:.0f} ms old")
        (tmp_path / "cam_low").rename(tmp_path / "unplugged")
        status = running.until("fault", lambda status: status["state"] == "fault")
        assert status["fault"]["code"] == "camera_lost"
        assert "cam_low" in status["fault"]["message"]
        assert "No such file" in status["fault"]["message"]
        check_smooth(tap.drain())
        (tmp_path / "unplugged").rename(tmp_path / "cam_low")
        running.until("back", lambda status: status["cameras"]["cam_low"]["at_rate"])
        works_again(running)
