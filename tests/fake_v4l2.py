"""A kernel with one UVC camera, below linuxpy: it answers the system calls that the real library makes, byte for byte.

Only what a camera of the uvcvideo driver does is played: formats that are adjusted instead of refused, controls with
bounds, buffers that are mapped, filled and handed over in order.
"""

from __future__ import annotations

import errno
import mmap
from pathlib import Path
from types import SimpleNamespace

from linuxpy import io, ioctl
from linuxpy.video import raw

SIZE = 1 << 16
IOC = raw.IOC


class Control:
    """One row of what `v4l2-ctl --list-ctrls` shows."""

    def __init__(self, id_, name, kind, minimum, maximum, value):
        self.id, self.name, self.kind = id_, name, kind
        self.minimum, self.maximum, self.value = minimum, maximum, value


class Kernel:
    """Installed by `install`; a test queues frames with `send` and changes what it likes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(4 * SIZE))
        self.formats = {"MJPG": (64, 48), "YUYV": (64, 48)}
        self.rate_hz = 30
        self.quantization = self.colorspace = 0
        self.controls = [
            Control(raw.ControlID.GAIN, b"Gain", raw.CtrlType.INTEGER, 0, 100, 50),
            Control(raw.ControlID.EXPOSURE_AUTO, b"Auto Exposure", raw.CtrlType.MENU, 0, 3, 3),
            Control(raw.ControlID.EXPOSURE_ABSOLUTE, b"Exposure Time, Absolute", raw.CtrlType.INTEGER, 3, 2047, 250),
            Control(raw.ControlID.EXPOSURE_AUTO_PRIORITY, b"Dynamic Framerate", raw.CtrlType.BOOLEAN, 0, 1, 1),
        ]
        self.exposure_menu = {1: b"Manual Mode", 3: b"Aperture Priority Mode"}
        self.plugged, self.streaming = True, False
        self._pix = raw.v4l2_pix_format()
        self._free: list[int] = []
        self._filled: list[tuple[int, raw.v4l2_buffer]] = []

    def install(self, monkeypatch) -> None:
        monkeypatch.setattr(ioctl, "fcntl", SimpleNamespace(ioctl=self.ioctl))
        monkeypatch.setattr(io.IO, "select", SimpleNamespace(select=self.select))

    def send(self, data: bytes, sequence: int, t_ns: int, flags: int) -> None:
        """A frame for the next free buffer; lost when there is none, as with the real one."""
        if not self._free:
            return
        index = self._free.pop(0)
        with self.path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            memory[index * SIZE : index * SIZE + len(data)] = data
        buffer = raw.v4l2_buffer(index=index, bytesused=len(data), sequence=sequence, flags=flags, length=SIZE)
        buffer.timestamp.set_ns(t_ns)
        self._filled.append((index, buffer))

    def value(self, id_: int) -> int:
        return next(control.value for control in self.controls if control.id == id_)

    def select(self, readers, _writers, _errors, _timeout=None):
        return (readers if self._filled or not self.plugged else [], [], [])

    def ioctl(self, _fd, request, argument):
        if not self.plugged:
            raise OSError(errno.ENODEV, "No such device")
        getattr(self, raw.IOC(request).name.lower())(argument)

    def querycap(self, caps):
        caps.driver, caps.card, caps.bus_info = b"uvcvideo", b"HD Camera", b"usb-0000:00:14.0-1"
        caps.capabilities = caps.device_caps = raw.Capability.VIDEO_CAPTURE | raw.Capability.STREAMING

    def s_fmt(self, form):
        pix = form.fmt.pix
        wanted = "".join(chr(pix.pixelformat >> shift & 0xFF) for shift in (0, 8, 16, 24))
        known = wanted if wanted in self.formats else next(iter(self.formats))
        pix.pixelformat = raw.v4l2_fourcc(*known)
        pix.width, pix.height = self.formats[known]
        pix.sizeimage, pix.bytesperline = SIZE, 2 * pix.width
        pix.quantization, pix.colorspace = self.quantization, self.colorspace
        self._pix = raw.v4l2_pix_format.from_buffer_copy(pix)

    def g_fmt(self, form):
        form.fmt.pix = self._pix

    def s_parm(self, parm):
        self.g_parm(parm)

    def g_parm(self, parm):
        parm.parm.capture.timeperframe.numerator, parm.parm.capture.timeperframe.denominator = 1, self.rate_hz

    def query_ext_ctrl(self, query):
        for control in self.controls:
            if control.id > query.id & 0x0FFFFFFF:
                query.id, query.name, query.type = control.id, control.name, control.kind
                query.minimum, query.maximum, query.step, query.flags = control.minimum, control.maximum, 1, 0
                return
        raise OSError(errno.EINVAL, "Invalid argument")

    def querymenu(self, query):
        if query.index not in self.exposure_menu:
            raise OSError(errno.EINVAL, "Invalid argument")
        query.name = self.exposure_menu[query.index]

    def s_ext_ctrls(self, controls):
        for index in range(controls.count):
            asked = controls.controls[index]
            for control in self.controls:
                if control.id == asked.id:
                    if control.kind == raw.CtrlType.MENU and asked.value not in self.exposure_menu:
                        raise OSError(errno.EINVAL, "Invalid argument")
                    control.value = asked.value

    def reqbufs(self, request):
        self._free = []
        request.count = min(request.count, 4)

    def querybuf(self, buffer):
        buffer.length, buffer.m.offset = SIZE, buffer.index * SIZE

    def qbuf(self, buffer):
        self._free.append(buffer.index)

    def dqbuf(self, buffer):
        if not self._filled:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        _, filled = self._filled.pop(0)
        for name in ("index", "bytesused", "sequence", "flags", "length", "timestamp"):
            setattr(buffer, name, getattr(filled, name))

    def streamon(self, _kind):
        self.streaming = True

    def streamoff(self, _kind):
        self.streaming, self._filled = False, []
