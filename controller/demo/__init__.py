"""The whole system on one machine, as the processes it consists of, judged by what they recorded."""
