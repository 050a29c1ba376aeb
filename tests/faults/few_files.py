"""A command that may open only so many files: few_files.py LIMIT COMMAND..."""

from __future__ import annotations

import os
import resource
import sys


def main() -> None:
    limit, *command = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(limit), int(limit)))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
