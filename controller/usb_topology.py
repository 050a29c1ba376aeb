"""How the USB cameras of this machine are connected, read from sysfs: link speed, shared buses, autosuspend.

It opens no camera and needs no rights. Cameras are known by the video class of one of their interfaces, RealSense too.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from controller.config_camera import Camera
from controller.findings import Finding, Level

VIDEO_CLASS = "0e"
BITS_PER_PIXEL = {"realsense": 16.0, "v4l2 yuyv": 16.0, "v4l2 mjpeg": 2.0}
"""As they come over the bus. Motion JPEG takes less of most pictures."""

USABLE = 0.6
"""Part of a bus that cameras get reliably."""

DEVICE = re.compile(r"\d+-\d+(?:\.\d+)*")


@dataclass(frozen=True, slots=True)
class UsbCamera:
    """port: as the kernel names it, bus-port.port. controller: the PCI address that its bus hangs on."""

    port: str
    product: str
    serial: str
    mbit: float
    """Of its own link."""
    version: str
    """Of USB, as the device tells it: 2.10 is one of USB 3 on a link of USB 2."""
    suspends: bool
    bus: str
    bus_mbit: float
    controller: str


def cameras(root: Path = Path("/sys")) -> list[UsbCamera]:
    """Every USB device with a video interface."""
    found = []
    for entry in sorted((root / "bus/usb/devices").glob("*-*")):
        if DEVICE.fullmatch(entry.name) and _is_camera(entry):
            hub = next((above for above in entry.resolve().parents if re.fullmatch(r"usb\d+", above.name)), None)
            if hub is not None:
                found.append(_read(entry, hub))
    return found


def sent_mbit(config: Camera) -> float:
    """What a camera of ours sends over its bus, in 10**6 bit/s; 0 for one that is not on USB."""
    kind = f"v4l2 {config.pixel_format}" if config.kind == "v4l2" else config.kind
    return 1e-6 * BITS_PER_PIXEL.get(kind, 0.0) * config.width * config.height * config.rate_hz


def findings(mbit_each: float, root: Path = Path("/sys")) -> list[Finding]:
    """What is good and bad about it. mbit_each: what one camera sends at most."""
    found = cameras(root)
    if not found:
        return [Finding(Level.WARN, "usb", "no USB camera is connected", "plug the cameras in, or see lsusb")]
    results = [result for camera in found for result in (_link(camera), _power(camera))]
    buses = defaultdict(list)
    for camera in found:
        buses[camera.controller, camera.bus].append(camera)
    return results + [_bus(shared, mbit_each) for shared in buses.values()]


def _link(camera: UsbCamera) -> Finding:
    text = f"{camera.product} {camera.serial}: {camera.mbit:g} Mbit/s on port {camera.port}"
    if camera.mbit < 5000 and camera.version == "2.10":
        step = "it can do USB 3: use a USB 3 port, a USB 3 cable, and turn the plug around once"
        return Finding(Level.WARN, f"usb {camera.port}", text, step)
    return Finding(Level.OK, f"usb {camera.port}", text)


def _power(camera: UsbCamera) -> Finding:
    subject = f"usb {camera.port} autosuspend"
    if camera.suspends:
        step = "install systemd/udev/60-pi0-cameras.rules and plug the camera in again"
        return Finding(Level.WARN, subject, "on: the kernel may put the camera to sleep", step)
    return Finding(Level.OK, subject, "off")


def _bus(shared: list[UsbCamera], mbit_each: float) -> Finding:
    bus, mbit = shared[0].bus, shared[0].bus_mbit
    needed, usable = len(shared) * mbit_each, USABLE * mbit
    text = (
        f"{len(shared)} on bus {bus} of controller {shared[0].controller} ({', '.join(one.port for one in shared)}): "
        f"{needed:.0f} Mbit/s of {usable:.0f} that can be relied on ({mbit:g})"
    )
    if needed > usable:
        step = "plug some of them into ports of another controller (lsusb -t)"
        return Finding(Level.FAIL, f"usb bus {bus}", text, step)
    return Finding(Level.OK, f"usb bus {bus}", text)


def _is_camera(entry: Path) -> bool:
    return any(_text(path) == VIDEO_CLASS for path in entry.glob("*:*/bInterfaceClass"))


def _read(entry: Path, hub: Path) -> UsbCamera:
    power = entry / "power"
    return UsbCamera(
        port=entry.name,
        product=_text(entry / "product") or "USB camera",
        serial=_text(entry / "serial"),
        mbit=float(_text(entry / "speed") or "nan"),
        version=_text(entry / "version"),
        suspends=_text(power / "control") == "auto" and not _text(power / "autosuspend_delay_ms").startswith("-"),
        bus=hub.name.removeprefix("usb"),
        bus_mbit=float(_text(hub / "speed") or "nan"),
        controller=hub.parent.name,
    )


def _text(path: Path) -> str:
    """Empty where the device has no such line, or was unplugged while we look."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
