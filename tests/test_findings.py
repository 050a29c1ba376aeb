"""A finding says what to do, unless all is well."""

import pytest

from controller.findings import Finding, Level, worst


@pytest.mark.parametrize("level", [Level.WARN, Level.FAIL])
def test_what_is_not_well_has_a_next_step(level):
    with pytest.raises(ValueError, match="cam_high rate"):
        Finding(level, "cam_high rate", "12.1 Hz, below 27")


def test_the_worst_of_several():
    ok, warn = Finding(Level.OK, "a", "1"), Finding(Level.WARN, "b", "2", "do that")
    assert worst([ok, warn]) is Level.WARN
    assert worst([]) is Level.OK
