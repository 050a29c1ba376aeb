"""What every section of the configuration is made of: strict tables, finite numbers, vectors of one arm.

Pure. Vectors of seven are one arm in the order joint_0..joint_5, gripper; both arms share them.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A table of the file: unknown keys, wrong types and non-finite numbers are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Finite = float
Text = Annotated[str, Field(min_length=1)]
Positive = Annotated[float, Field(gt=0)]
Arm = Annotated[tuple[Finite, ...], Field(min_length=7, max_length=7, strict=False)]
Point = Annotated[tuple[Finite, ...], Field(min_length=3, max_length=3, strict=False)]
PositiveArm = Annotated[tuple[Positive, ...], Field(min_length=7, max_length=7, strict=False)]
