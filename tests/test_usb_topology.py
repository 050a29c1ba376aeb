"""USB facts from trees that look like sysfs."""

import pytest

from controller.config_camera import Camera
from controller.findings import Level, worst
from controller.usb_topology import cameras, findings, sent_mbit

EACH = 147.5

DEFAULTS = {"product": "Intel(R) RealSense(TM) Depth Camera 405", "serial": "123", "speed": "5000", "version": " 3.20"}


def write(folder, **lines):
    folder.mkdir(parents=True, exist_ok=True)
    for name, line in lines.items():
        (folder / name).write_text(f"{line}\n")


class Tree:
    """A sysfs with controllers, their root hubs, and what is plugged in."""

    def __init__(self, root):
        self.root = root
        self.devices = root / "bus/usb/devices"
        self.devices.mkdir(parents=True)

    def hub(self, controller, bus, speed):
        folder = self.root / "devices/pci0000:00" / controller / f"usb{bus}"
        write(folder, speed=speed)
        (self.devices / f"usb{bus}").symlink_to(folder)
        return folder

    def plug(self, hub, port, interface="0e", control="on", delay="2000", **lines):
        folder = hub / port
        write(folder, **DEFAULTS | lines)
        write(folder / "power", control=control, autosuspend_delay_ms=delay)
        write(folder / f"{port}:1.0", bInterfaceClass=interface)
        for entry in (folder, folder / f"{port}:1.0"):
            (self.devices / entry.name).symlink_to(entry)
        return folder


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def test_cameras_are_told_from_other_devices_also_behind_a_hub(tree):
    usb = tree.hub("0000:00:14.0", 2, 10000)
    tree.plug(usb, "2-1", interface="09")
    tree.plug(usb / "2-1", "2-1.3", serial="456", speed="5000")
    tree.plug(usb, "2-4", interface="03")
    (camera,) = cameras(tree.root)
    assert (camera.port, camera.serial, camera.mbit, camera.version) == ("2-1.3", "456", 5000.0, "3.20")
    assert (camera.bus, camera.bus_mbit, camera.controller) == ("2", 10000.0, "0000:00:14.0")


def test_four_colour_streams_fit_one_usb_3_bus(tree):
    usb = tree.hub("0000:00:14.0", 2, 5000)
    for port in range(1, 5):
        tree.plug(usb, f"2-{port}")
    found = findings(EACH, tree.root)
    assert worst(found) is Level.OK
    assert "4 on bus 2 of controller 0000:00:14.0 (2-1, 2-2, 2-3, 2-4): 590 Mbit/s of 3000" in found[-1].text


def test_they_do_not_fit_one_usb_2_bus_but_two_of_them(tree):
    one, other = tree.hub("0000:00:14.0", 1, 480), tree.hub("0000:05:00.0", 3, 480)
    for port in range(1, 4):
        tree.plug(one, f"1-{port}", speed="480", version=" 2.00")
    tree.plug(other, "3-1", speed="480", version=" 2.00")
    bad, good = findings(EACH, tree.root)[-2:]
    assert (bad.level, good.level) == (Level.FAIL, Level.OK)
    assert "3 on bus 1" in bad.text
    assert "another controller" in bad.next_step
    assert worst(findings(50.0, tree.root)) is Level.OK, "compressed pictures fit"


def test_a_usb_3_camera_on_a_usb_2_link_is_told(tree):
    tree.plug(tree.hub("0000:00:14.0", 1, 480), "1-2", speed="480", version=" 2.10")
    link = findings(EACH, tree.root)[0]
    assert link.level is Level.WARN
    assert "480 Mbit/s on port 1-2" in link.text
    assert "USB 3 cable" in link.next_step


@pytest.mark.parametrize(
    ("control", "delay", "level"), [("auto", "2000", Level.WARN), ("auto", "-1000", Level.OK), ("on", "2000", Level.OK)]
)
def test_autosuspend_is_told(tree, control, delay, level):
    tree.plug(tree.hub("0000:00:14.0", 2, 5000), "2-1", control=control, delay=delay)
    assert findings(EACH, tree.root)[1].level is level


def test_without_cameras_or_usb_it_says_so(tree, tmp_path):
    for root in (tree.root, tmp_path / "nothing"):
        (only,) = findings(EACH, root)
        assert only.level is Level.WARN
        assert "no USB camera" in only.text


def test_what_a_camera_sends_is_of_its_size_rate_and_coding():
    raw = Camera(kind="realsense", serial="1", width=640, height=480)
    assert sent_mbit(raw) == pytest.approx(147.456)
    assert sent_mbit(raw.model_copy(update={"rate_hz": 15.0})) == pytest.approx(147.456 / 2)
    webcam = Camera(kind="v4l2", device="/dev/video0", width=640, height=480)
    assert sent_mbit(webcam) == pytest.approx(147.456 / 8)
    assert sent_mbit(webcam.model_copy(update={"pixel_format": "yuyv"})) == pytest.approx(147.456)
    assert sent_mbit(Camera(kind="pattern")) == 0.0
