"""docs/configuration.md: every key of the configuration file, from the models that read it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic.fields import FieldInfo

from controller.config import WHAT_MOVES, Config
from controller.config_camera import CAMERA_NAMES
from controller.config_section import Section


def _listed(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in sorted(words))


INTRODUCTION = f"""\
One TOML file, read whole before anything starts: `--config FILE`, for the service
`/etc/pi0-controller/controller.toml`. Begin with a copy of [`sim.toml`](../controller/configs/sim.toml) or of
[`trossen_stationary.toml`](../controller/configs/trossen_stationary.toml). An unknown key, another type, a value
outside its bound, and values that contradict each other are refused with file, key, value and bound. What may change
while the daemon runs is in [`operating.md`](operating.md). A change in {_listed(f"[{name}]" for name in WHAT_MOVES)}
asks for another bring-up. Cameras are named {_listed(CAMERA_NAMES)}.

*7 numbers* are one arm, `joint_0` to `joint_5` (rad and its derivatives) and the gripper (m); both arms share them.
A key without a value in *if not said* must be there."""

BOUNDS = ((Ge, "ge", "≥"), (Gt, "gt", ">"), (Le, "le", "≤"), (Lt, "lt", "<"))


def lines() -> Iterator[str]:
    """What follows on the title."""
    yield from INTRODUCTION.splitlines()
    for name, model, what in _sections(Config, ""):
        yield from ("", f"## `[{name}]`", "", what, "")
        yield from ("| key | value | if not said | what it is |", "| --- | --- | --- | --- |")
        said = _docstrings(model)
        for key, field in model.model_fields.items():
            if not list(_models(field.annotation)):
                yield f"| `{key}` | {_values(field)} | {_default(field)} | {said.get(key, '')} |"


def _sections(model: type[Section], within: str) -> Iterator[tuple[str, type[Section], str]]:
    """The tables of the file in the order in which they stand there, and what each is."""
    said = _docstrings(model)
    for key, field in model.model_fields.items():
        for inner in _models(field.annotation):
            name = f"{within}{key}" + (".NAME" if get_origin(field.annotation) is dict else "")
            yield name, inner, said.get(key) or inspect.cleandoc(inner.__doc__ or "")
            yield from _sections(inner, f"{name}.")


def _models(annotation: Any) -> Iterator[type[Section]]:
    """The model of a table, of a table of tables, or of one that may be absent."""
    for part in (annotation, *get_args(annotation)):
        if inspect.isclass(part) and issubclass(part, Section):
            yield part


def _docstrings(model: type[Section]) -> dict[str, str]:
    """What stands under each field, those of base classes included."""
    said: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if issubclass(owner, Section):
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
            assert isinstance(tree, ast.ClassDef)
            for field, text in zip(tree.body, tree.body[1:], strict=False):
                match field, text:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                        said[name] = " ".join(words.split())
    return said


def _values(field: FieldInfo) -> str:
    return _type(field.annotation, field.metadata)


def _type(annotation: Any, metadata: list[Any]) -> str:
    """Type and bounds in a few words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(inner[0], [*metadata, *(part for one in inner[1:] for part in getattr(one, "metadata", [one]))])
    if origin in (Union, UnionType):
        (only,) = (part for part in inner if part is not NoneType)
        return _type(only, metadata)
    if origin is Literal:
        return " or ".join(f'`"{word}"`' for word in inner)
    if origin is tuple:
        count = next((part.min_length for part in metadata if isinstance(part, MinLen)), None)
        one = _type(inner[0], [])
        return f"list: {one}" if count is None else f"{count} {one.replace('number', 'numbers')}"
    if origin is dict:
        return "table"
    word = {bool: "`true` or `false`", int: "whole number", float: "number", str: "text"}[annotation]
    bounds = (f"{sign} {getattr(m, name):,}" for kind, name, sign in BOUNDS for m in metadata if isinstance(m, kind))
    return f"{word} {', '.join(bounds)}".strip()


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{list(value) if isinstance(value, tuple) else value}`"
