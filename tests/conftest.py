"""Shared by all tests."""

from hypothesis import settings

# how long an example takes is the machine's business: no test bounds real time from above
settings.register_profile("default", deadline=None)
settings.load_profile("default")
