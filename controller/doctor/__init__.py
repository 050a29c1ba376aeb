"""`pi0ctl doctor`: is this machine, with this network, these cameras, arms and this policy server, fit for the work?

One file for each area judges facts (pure), one beside it (`..._facts`) gathers them. Nothing here moves anything.
"""
