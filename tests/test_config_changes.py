"""Which keys a reload may change, and who begins anew for each."""

import pytest
from supervisor_rig import configuration

from controller.config import Config
from controller.config_changes import TABLE, changes

OLD = configuration()


def changed(**keys):
    """The configuration with other values at dotted keys (__ for a dot)."""
    table = OLD.model_dump(exclude_unset=True)
    for key, value in keys.items():
        *sections, name = key.split("__")
        place = table
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return Config.model_validate(table)


def test_nothing_changes_from_itself():
    found = changes(OLD, changed())
    assert (found.changed, found.refused, found.begin_anew) == ((), (), frozenset())


@pytest.mark.parametrize(
    ("key", "value", "begin_anew"),
    [
        ("daemon__log_level", "debug", set()),
        ("policy__url", "ws://10.0.0.2:8000", {"link", "recorder"}),
        ("policy__api_key_file", "key", {"link", "recorder"}),
        ("control__seam", "rtc", {"recorder"}),
        ("control__blend_s", 0.2, {"control", "guard", "recorder"}),
        ("control__speed_ramp_s", 1.0, {"control", "guard", "link", "recorder"}),
        ("cameras__cam_low__dark_level", 3.0, {"camera cam_low", "recorder"}),
        ("cameras__cam_low__max_age_s", 1.0, {"link", "recorder"}),
        ("recorder__enabled", False, {"recorder"}),
    ],
)
def test_what_bounds_no_motion_is_applied(key, value, begin_anew):
    found = changes(OLD, changed(**{key: value}))
    assert found.refused == ()
    assert len(found.changed) == 1
    assert found.changed[0].startswith(key.replace("__", ".") + ": ")
    assert found.changed[0].endswith(f" -> {value!r}")
    assert found.begin_anew == begin_anew


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("robot__limits__contact_s", 0.05),
        ("robot__limits__velocity", (2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 0.2)),
        ("robot__homing__pose", (0.0, 1.0, 0.5, 0.6, 0.0, 0.0, 0.04)),
        ("control__rate_hz", 40.0),
        ("control__command_s", 0.1),
        ("control__ramp__velocity", (0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.1)),
        ("guard__enabled", False),
        ("guard__arm_clearance_m", 0.02),
        ("policy__image_size", 128),
        ("cameras__cam_low__width", 320),
        ("cameras__cam_low__rate_hz", 15.0),
        ("daemon__lease_s", 0.5),
        ("daemon__group", "users"),
        ("realtime__required", True),
    ],
)
def test_what_bounds_motion_or_shapes_memory_needs_a_restart(key, value):
    found = changes(OLD, changed(**{key: value}))
    assert found.refused == found.changed
    assert found.refused[0].startswith(key.replace("__", ".") + ": ")


def test_a_camera_that_comes_or_goes_needs_a_restart():
    table = OLD.model_dump(exclude_unset=True)
    del table["cameras"]["cam_low"]
    table["policy"]["cameras"] = ("cam_high",)
    fewer = Config.model_validate(table)
    assert "cameras.cam_low: 'there' -> 'none'" in changes(OLD, fewer).refused
    assert "cameras.cam_low: 'none' -> 'there'" in changes(fewer, OLD).refused


def test_without_a_guard_none_begins_anew():
    old = changed(guard__enabled=False)
    table = old.model_dump(exclude_unset=True)
    table["control"]["blend_s"] = 0.2
    assert changes(old, Config.model_validate(table)).begin_anew == {"control", "recorder"}


def test_the_motor_process_begins_anew_for_nothing():
    assert not any("motor" in (processes or ()) for processes in TABLE.values())
