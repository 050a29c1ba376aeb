"""A daemon, some of whose processes are replaced by programs of this folder.

    misbehaving_daemon.py --replace "camera cam_low=bad_camera" --config ... --socket ...

Each such program is a module with `run(child)`, as the daemon's own processes are. Every child imports this file.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace


def main() -> int:
    from controller import __main__ as daemon
    from controller import children

    parser = argparse.ArgumentParser()
    parser.add_argument("--replace", action="append", default=[], metavar="PROCESS=MODULE")
    arguments, rest = parser.parse_known_args()
    modules = dict(entry.split("=") for entry in arguments.replace)
    table = children.table

    def replaced(config):
        rows = table(config)
        unknown = modules.keys() - {row.name for row in rows}
        assert not unknown, f"no such process: {unknown}"
        return [replace(row, module=modules.get(row.name, row.module)) for row in rows]

    children.table = replaced
    return daemon.main(rest)


if __name__ == "__main__":
    sys.exit(main())
