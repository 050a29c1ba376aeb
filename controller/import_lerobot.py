"""`pi0-controller import-lerobot FILE`: LeRobot's configuration of the kit as one of ours. Needs no LeRobot."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from controller import config
from controller.lerobot_translation import Untranslatable, translate


def main(argv: list[str]) -> int:
    """Run the command. 0 done, 1 the file cannot be carried over, 2 usage."""
    parser = argparse.ArgumentParser(
        prog="pi0-controller import-lerobot",
        description="Write the TOML of the Trossen kit that a LeRobot configuration (YAML or JSON) describes.",
    )
    parser.add_argument("file", type=Path, help="a robot's configuration, or one of a recording with a table `robot`")
    parser.add_argument("-o", "--output", type=Path, help="a new file (default: standard output)")
    arguments = parser.parse_args(argv)
    shipped = config.shipped("trossen_stationary").read_text(encoding="utf-8")
    try:
        made = translate(_read(arguments.file), arguments.file.name, shipped)
        config.parse(made.toml, str(arguments.output or "the result"))  # what is written can be used
        _write(made.toml, arguments.output)
    except (Untranslatable, config.ConfigError, OSError) as error:
        print(f"{arguments.file}: {error}", file=sys.stderr)
        return 1
    print(*made.remarks, sep="\n", file=sys.stderr)
    return 0


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Takes a Python object, as LeRobot writes its words for colours, for the value it was made of; makes no object."""


def _value(loader: _Loader, _kind: str, node: yaml.Node) -> Any:
    if not isinstance(node, yaml.SequenceNode):
        raise yaml.constructor.ConstructorError(None, None, f"cannot be read: {node.tag}", node.start_mark)
    values = loader.construct_sequence(node, deep=True)
    return values[0] if len(values) == 1 else values


_Loader.add_multi_constructor("tag:yaml.org,2002:python/object/apply:", _value)


def _read(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)  # JSON is YAML, too
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Untranslatable(f"neither YAML nor JSON: {error}") from None


def _write(text: str, output: Path | None) -> None:
    if output is None:
        print(text, end="")
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        text = f"{output} exists, and somebody may have worked on it: give another -o, or move it away"
        raise Untranslatable(text) from None
