"""All udev rules: every line is one that udev can read and is explained, and a D405 is meant by one of them alone."""

import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).parent.parent / "systemd/udev").iterdir())
TEXT = "".join(file.read_text(encoding="utf-8") for file in FILES)
RULES = [line for line in TEXT.splitlines() if line and not line.startswith("#")]
TERM = re.compile(r'(?P<key>[A-Z]+(?:\{[\w/]+\})?)(?P<sign>==|\+=|=)"(?P<value>[^"]*)"')

D405 = {
    "ACTION": "add",
    "SUBSYSTEM": "usb",
    "ENV{DEVTYPE}": "usb_device",
    "ENV{ID_USB_INTERFACES}": ":0e0100:0e0200:",
    "ATTR{idVendor}": "8086",
    "ATTR{product}": "Intel(R) RealSense(TM) Depth Camera 405",
    "TEST": "power/control",
}
WEBCAM = {
    "ACTION": "add",
    "SUBSYSTEM": "video4linux",
    "ENV{ID_BUS}": "usb",
    "ENV{ID_SERIAL_SHORT}": "7F3A",
    "ENV{ID_PATH_TAG}": "pci-0000_00_14_0-usb-0_1_1_0",
    "ENV{ID_V4L_CAPABILITIES}": ":capture:",
    "ATTR{index}": "0",
}


def assigned(device):
    """What the rules make of a device."""
    found = []
    for rule in RULES:
        terms = [match.groups() for match in TERM.finditer(rule)]
        if all(fnmatchcase(device.get(key, ""), value) for key, sign, value in terms if sign == "=="):
            found += [(key, value) for key, sign, value in terms if sign != "=="]
    return found


@pytest.mark.parametrize("rule", RULES, ids=range(len(RULES)))
def test_a_rule_is_made_of_terms_that_match_and_terms_that_assign(rule):
    assert TERM.sub("", rule).replace(", ", "") == ""
    assert {match["sign"] for match in TERM.finditer(rule)} >= {"=="}
    assert any(match["sign"] != "==" for match in TERM.finditer(rule))
    assert TEXT.splitlines()[TEXT.splitlines().index(rule) - 1].startswith("# ")


def test_a_realsense_is_given_to_group_video_and_kept_awake():
    assert assigned(D405) == [("MODE", "0660"), ("GROUP", "video"), ("TAG", "uaccess"), ("ATTR{power/control}", "on")]
    assert assigned(D405 | {"ENV{ID_USB_INTERFACES}": ":e00101:"}) == [], "Intel's Bluetooth is none of ours"


def test_a_webcam_has_a_name_by_its_number_and_by_its_socket():
    names = [("SYMLINK", "pi0/$env{ID_SERIAL_SHORT}"), ("SYMLINK", "pi0/port-$env{ID_PATH_TAG}")]
    assert assigned(WEBCAM) == names
    assert assigned(WEBCAM | {"ENV{ID_SERIAL_SHORT}": ""}) == names[1:]
    assert assigned(WEBCAM | {"ATTR{index}": "1"}) == [], "its second device file gives no pictures"
