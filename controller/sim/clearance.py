"""How near the kit's bodies come to each other along a path of joint positions, on its kinematic model.

Pairs are every shape of one arm with every shape of the other, and every moving shape above the shoulder with the table
plate and the frame. Not pairs: shapes of one arm with each other, and whatever stands on the table (lighter, cup): to
touch that is what the arms are for. Every moving link and both tool points must also stay inside the workspace.

For each pose the distances that bounding spheres cannot rule out are taken by `mj_geomDistance`, 2 us apiece; a
collision pass with margins (`mj_collision`) is no faster, and says nothing of a pair that is farther than its margin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from controller.config import Guard
from controller.margins import FAR_M, Pair
from controller.sim import kit

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

BODIES = {
    "base_link": "base",
    "link_1": "shoulder",
    "link_2": "upper arm",
    "link_3": "forearm",
    "link_4": "wrist",
    "link_5": "wrist",
    "link_6": "hand",
    "carriage_left": "finger",
    "carriage_right": "finger",
}
"""What a person calls them, behind the arm's side."""

FINGERS = ("carriage_left", "carriage_right")
RESERVE_M = 0.01
"""A pair is measured again once it could have come nearer than this above its clearance."""

FIXED = ("base_link", "link_1")
"""They turn at most about their own axis, next to the table: no pairs with it."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """One geom of an arm."""

    geom: int
    side: str
    link: str

    @property
    def name(self) -> str:
        return f"{self.side} {BODIES[self.link]}"


class Clearance:
    """`pairs` says what is measured, in the order of the columns of `along`."""

    def __init__(self, guard: Guard) -> None:
        self._kit = kit.build()
        self._model, self._data = self._kit.model, mujoco.MjData(self._kit.model)
        self._fromto = np.zeros(6)
        left, right = (_shapes(self._model, side) for side in kit.SIDES)
        surroundings = [geom for geom in range(self._model.ngeom) if _is_frame(self._model, geom)]
        mutual = [(a, b) for a in left for b in right]
        fixed = [(shape, geom) for shape in (*left, *right) if shape.link not in FIXED for geom in surroundings]
        self._mutual = _columns([(a.geom, b.geom) for a, b in mutual])
        self._fixed = _columns([(shape.geom, geom) for shape, geom in fixed])
        self._first = np.concatenate((self._mutual[0], self._fixed[0]))
        self._second = np.concatenate((self._mutual[1], self._fixed[1]))
        links = [(side, link) for side in kit.SIDES for link in BODIES if link not in FIXED]
        self._bodies = np.array([self._model.body(f"{side}_{link}").id for side, link in links])
        self._tools = np.array([self._model.site(f"{side}_tool").id for side in kit.SIDES])
        self._lower, self._upper = np.array(guard.workspace_lower), np.array(guard.workspace_upper)
        self._radius = self._model.geom_rbound
        # the frame's boxes stand still and upright: their half sizes and places are all there is to know
        self._places, self._halves = self._model.geom_pos, self._model.geom_size
        self.pairs = [Pair(a.name, b.name, guard.arm_clearance_m) for a, b in mutual]
        self.pairs += [
            Pair(
                shape.name,
                self._model.geom(geom).name,
                guard.finger_table_clearance_m
                if shape.link in FINGERS and self._model.geom(geom).name == "table"
                else guard.table_clearance_m,
            )
            for shape, geom in fixed
        ]
        inside = [f"{side} {BODIES[link]}" for side, link in links] + [f"{side} tool point" for side in kit.SIDES]
        self.pairs += [Pair(name, None, 0.0) for name in inside]
        self._clearance = np.array([pair.clearance_m for pair in self.pairs])

    def along(self, path: Array) -> Array:
        """Signed distances in m, (poses, pairs), of joint positions (poses, 14).

        FAR_M where it is more than that, or where it is surely more than RESERVE_M above the clearance.
        """
        centres = np.empty((len(path), self._model.ngeom, 3))
        turns = np.empty((len(path), self._model.ngeom, 9))
        distances = np.full((len(path), len(self.pairs)), FAR_M)
        edge = distances[:, self._first.size :]
        for pose, q in enumerate(path):
            self._put(q)
            centres[pose], turns[pose] = self._data.geom_xpos, self._data.geom_xmat
            points = np.concatenate((self._data.xpos[self._bodies], self._data.site_xpos[self._tools]))
            edge[pose] = np.minimum(points - self._lower, self._upper - points).min(axis=1)
        np.minimum(edge, FAR_M, out=edge)
        near = np.concatenate((self._near_mutual(centres), self._near_fixed(centres)), axis=1)
        columns = np.flatnonzero(near.any(axis=0))
        distances[:, columns] = self._measured(columns, near[:, columns], centres, turns)
        return distances

    def _measured(self, columns: Indices, near: NDArray[np.bool_], centres: Array, turns: Array) -> Array:
        """Distances of these pairs, taken where they could have come near since they were last taken."""
        first, second = self._first[columns], self._second[columns]
        pairs = list(zip(first.tolist(), second.tolist(), strict=True))
        enough = self._clearance[columns] + RESERVE_M
        # no point of a shape moves farther than its centre does and its radius lets it turn
        steps = np.linalg.norm(np.diff(centres, axis=0), axis=2)
        steps += self._radius * np.linalg.norm(np.diff(turns, axis=0), axis=2)
        travel = np.concatenate((np.zeros((1, steps.shape[1])), steps.cumsum(axis=0)))
        travelled = travel[:, first] + travel[:, second]
        at_most = np.full(columns.size, -np.inf)  # so far apart were they, had they not moved; see `due`
        distances = np.full(near.shape, FAR_M)
        model, data, fromto = self._model, self._data, self._fromto
        for pose, moved in enumerate(travelled):
            due = np.flatnonzero(near[pose] & (at_most - moved < enough))
            if due.size:
                data.geom_xpos[:], data.geom_xmat[:] = centres[pose], turns[pose]
                distances[pose, due] = [
                    mujoco.mj_geomDistance(model, data, *pairs[column], FAR_M, fromto) for column in due.tolist()
                ]
                at_most[due] = distances[pose, due] + moved[due]
        return distances

    def _put(self, q: Array) -> None:
        data = self._data
        data.qpos[self._kit.joint_qpos] = q
        data.qpos[self._kit.mimic_qpos] = q[[6, 13]]
        mujoco.mj_kinematics(self._model, data)

    def _near_mutual(self, centres: Array) -> NDArray[np.bool_]:
        first, second = self._mutual
        apart = np.linalg.norm(centres[:, first] - centres[:, second], axis=2)
        near: NDArray[np.bool_] = apart - self._radius[first] - self._radius[second] < FAR_M
        return near

    def _near_fixed(self, centres: Array) -> NDArray[np.bool_]:
        first, second = self._fixed
        outside = np.maximum(np.abs(centres[:, first] - self._places[second]) - self._halves[second], 0.0)
        near: NDArray[np.bool_] = np.linalg.norm(outside, axis=2) - self._radius[first] < FAR_M
        return near


def _shapes(model: Any, side: str) -> list[_Shape]:
    """Every geom of one arm, base first."""
    found = []
    for geom in range(model.ngeom):
        body = model.body(model.geom_bodyid[geom]).name
        if body.startswith(side + "_"):
            found.append(_Shape(geom, side, body.removeprefix(side + "_")))
    return found


def _is_frame(model: Any, geom: int) -> bool:
    """What stands still: table and frame. The floor is left to the workspace."""
    return bool(model.geom_bodyid[geom] == 0 and model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_BOX)


def _columns(pairs: list[tuple[int, int]]) -> tuple[Indices, Indices]:
    first, second = zip(*pairs, strict=True)
    return np.array(first, dtype=np.intp), np.array(second, dtype=np.intp)
