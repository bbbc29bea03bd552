"""Pressing: a probe brought to touch the tissue, pressed in along a direction, and the force it feels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from solver.errors import SolverError
from solver.live_contact import LiveContact
from solver.rigid import inside
from solver.tools import Tool

if TYPE_CHECKING:
    from solver.field import OperativeField

Array = NDArray[np.float64]

# The tissue is looked for this far around a probe, and a probe backs off at most this far to come free of it.
REACH_MM = 30.0
TOUCHING_MM = 0.005
# A force is reached when it is right to this share, within so many corrections.
FORCE_TOLERANCE, CORRECTIONS = 0.005, 20
# Farther than any organ gives way; thinner and thicker than any probe or hand.
DEEPEST_MM, THINNEST_MM, THICKEST_MM = 100.0, 0.5, 100.0


def check_reach(depth_mm: float | None, radius_mm: float) -> None:
    """No probe goes as deep, or is as thick, as that.

    Raises
    ------
    SolverError
    """
    if depth_mm is not None and depth_mm > DEEPEST_MM:
        raise SolverError(
            f"depth_mm is {depth_mm:g}; no organ gives way so far, give at most {DEEPEST_MM:g}."
        )
    if not THINNEST_MM <= radius_mm <= THICKEST_MM:
        raise SolverError(f"radius_mm is {radius_mm:g}; give {THINNEST_MM:g} to {THICKEST_MM:g}.")


def probe_tip(radius_mm: float, direction: Array, shaft_mm: float) -> Tool:
    """A ball, or with a shaft a rod that leads back from its round tip against the direction."""
    return Tool.rod(radius_mm, -shaft_mm * direction) if shaft_mm > 0 else Tool.ball(radius_mm)


def inward_normal(field: OperativeField, point: Array, radius_mm: float) -> Array:
    """Direction into the tissue, shape (3,): the mean over the facets as near to a point as a radius, by area."""
    positions = field.live.positions
    corners = positions[field.organ.exterior]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    away = np.linalg.norm(corners.mean(axis=1) - point, axis=1)
    mean = -normal[away <= max(radius_mm, float(away.min()))].sum(axis=0)
    length = float(np.linalg.norm(mean))
    if not length > 0:
        raise SolverError("The surface has no direction there; say with 'direction' where to press.")
    return mean / length


def first_touch(field: OperativeField, probe: Tool, point: Array, direction: Array) -> Array:
    """Position, shape (3,), mm, at which a probe that comes along a direction towards a point first touches.

    The probe is advanced by its distance to the tissue, which it cannot pass (sphere tracing; Hart 1996, Vis Comput
    12:527).

    Raises
    ------
    SolverError
        If tissue is in the way where it would come from, or the probe passes the point without touching anything.
    """
    contact = LiveContact.on("probe", field.live.body, probe)
    positions = field.live.positions
    size = probe.size_mm

    corners = positions[field.organ.exterior]

    def gap(at_mm: float) -> float:
        place = point + at_mm * direction
        if inside(place, corners):
            return -size
        return contact.placed(place).gap_mm(positions, REACH_MM)

    at, x, y, z = -size - TOUCHING_MM, *point
    while gap(at) <= 0:
        at -= 0.5 * size
        if at < -REACH_MM - size:
            raise SolverError(
                f"Tissue is in the way: within {REACH_MM:g} mm before ({x:.1f}, {y:.1f}, {z:.1f}) mm the probe is "
                "nowhere free; choose another direction."
            )
    for _ in range(400):
        distance = gap(at)
        if distance < TOUCHING_MM:
            return point + at * direction
        at += distance
        if at > size:
            break
    passed = min(gap(-size), gap(0.0), gap(size))
    words = f"{passed:.1f} mm" if passed < REACH_MM else f"{REACH_MM:g} mm or more"
    raise SolverError(
        f"The probe touches nothing at ({x:.1f}, {y:.1f}, {z:.1f}) mm: it passes the tissue by {words}; choose a "
        "point on the organ or another direction."
    )


class Pressing:
    """A probe in use.

    Parameters
    ----------
    field : OperativeField
    name : str
        Of the tool.
    probe : Tool
        At its place of first touch.
    direction : ndarray, shape (3,)
        Along which it is pressed.
    friction : float

    Raises
    ------
    SolverError
        If the tool is in use already.
    """

    def __init__(
        self, field: OperativeField, name: str, probe: Tool, direction: Array, friction: float
    ) -> None:
        if name in field.tools_mm:
            raise SolverError(f"The tool '{name}' is in use already; release it first.")
        self.field, self.name, self.direction = field, name, direction
        self.base, self.depth_mm = probe.position_mm, 0.0
        self._stiffness = 0.0
        self._last = (0.0, 0.0)
        field.live.add_load(name, LiveContact.on(name, field.live.body, probe, friction))

    @property
    def contact(self) -> LiveContact:
        """The contact as it is now."""
        load = self.field.live.loads.get(self.name)
        if not isinstance(load, LiveContact):
            raise SolverError(f"The tool '{self.name}' was taken away while it was pressed.")
        return load

    def force_N(self) -> float:
        """Force on the tissue along the direction, N."""
        return float(self.contact.forces_N(self.field.live.positions)[self.name] @ self.direction)

    def to(self, depth_mm: float, base: Array | None = None) -> None:
        """Tell the probe to go to a depth below a place, by default that of first touch."""
        self._learn()
        self.base = self.base if base is None else base
        self.depth_mm = depth_mm
        self.field.live.steer(self.name, self.base + depth_mm * self.direction)

    def _learn(self) -> None:
        """How stiff the tissue is here, N/mm, from the last two readings."""
        depth, force = self.depth_mm, self.force_N()
        before_depth, before_force = self._last
        if abs(depth - before_depth) > 1e-3:
            slope = (force - before_force) / (depth - before_depth)
            secant = force / depth if depth > 0 else 0.0
            if slope > 0.2 * secant:
                self._stiffness = slope
            self._last = (depth, force)
        if self._stiffness <= 0 and depth > 0 and force > 0:
            self._stiffness = force / depth

    def depth_for(self, force_N: float, longest_mm: float) -> float:
        """Depth at which the force is to be expected, at most `longest_mm` from the present one, mm."""
        self._learn()
        missing = force_N - self.force_N()
        change = missing / self._stiffness if self._stiffness > 0 else np.sign(missing) * longest_mm
        return max(0.0, self.depth_mm + float(np.clip(change, -longest_mm, longest_mm)))

    def settle(self, force_N: float | None = None, most_mm: float = np.inf) -> None:
        """Bring the tissue to rest under the probe, and the force to a value if one is given.

        Parameters
        ----------
        force_N : float, optional
        most_mm : float
            The probe does not go deeper than this.
        """
        resting = self._rest()
        for _ in range(CORRECTIONS if force_N is not None and resting else 0):
            assert force_N is not None
            wanted = min(self.depth_for(force_N, 0.5 * self.contact.tool.size_mm), most_mm)
            near = abs(self.force_N() - force_N) <= FORCE_TOLERANCE * force_N
            if near or abs(wanted - self.depth_mm) < 1e-4:
                return
            self.to(wanted)
            self._rest()

    def _rest(self) -> bool:
        """Iterate until the tissue rests; False where it moves in time, in which it must be left to come to rest."""
        for _ in range(12):
            frame = self.field.step(iterations=5)
            if frame.state != "approaching":
                return True
            if not frame.iterations:
                return False
        return True
