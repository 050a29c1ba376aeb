"""`pi0ctl bring-up`: the first motions of a robot, one after the other, each asked for and each remembered."""
