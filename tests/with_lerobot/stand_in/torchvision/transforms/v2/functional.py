"""Imported by LeRobot as a module, for functions that robots and cameras never call."""
