"""Probe: a round tip is pressed into the tissue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from solver.actions.act import Act, Vector, checked_duration, checked_name, checked_number, checked_vector
from solver.actions.place import checked_place, place_on
from solver.actions.pressing import Pressing, check_reach, first_touch, inward_normal, probe_tip
from solver.errors import SolverError

if TYPE_CHECKING:
    from solver.field import OperativeField

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Probe(Act):
    """Press a round tip into the tissue at a place, to a depth or up to a force, and feel how stiff it is.

    Physics: rigid tip against the deformed outer surface, quasi-static (`solver.live_contact`). The tip comes along the
    direction until it first touches; from there it advances evenly to `depth_mm`, and stops where its force along
    the direction reaches `force_N`. At the end the tissue is at rest under it, and an event "probe" holds force
    against depth. The tip stays until `Release`.

    Parameters
    ----------
    tool : str
        Name of the tool.
    depth_mm : float
        How far beyond first touch it goes at most; up to 100.
    force_N : float, optional
        Force at which it goes no farther.
    structure : str, optional
        Structure to probe, with `towards`.
    towards : (float, float, float), optional
        The place is that point of the structure's outer surface which lies farthest in this direction, LPS.
    point_mm : (float, float, float), optional
        Place to probe instead, LPS millimetres.
    direction : (float, float, float), optional
        Along which the tip is pressed, LPS; its length does not matter. Default: straight into the surface.
    radius_mm : float
        Radius of the tip. Laparoscopic instruments are 5 or 10 mm thick.
    shaft_mm : float
        Length of a straight shaft behind the tip, as thick as the tip; 0: a ball alone.
    friction : float
        Coulomb's coefficient; wet serous surfaces slide, so that the default is none.
    duration_s : float
        Time it takes.

    Raises
    ------
    SolverError
        If neither or both ways to say where are used, or a value is out of range.
    """

    act: ClassVar[str] = "probe"
    tool: str
    depth_mm: float
    force_N: float | None = None
    structure: str | None = None
    towards: Vector | None = None
    point_mm: Vector | None = None
    direction: Vector | None = None
    radius_mm: float = 5.0
    shaft_mm: float = 0.0
    friction: float = 0.0
    duration_s: float = 1.0

    def __post_init__(self) -> None:
        checked_name(self.tool, "The tool")
        for name, positive in (
            ("depth_mm", True), ("radius_mm", True), ("shaft_mm", False), ("friction", False),
            ("duration_s", False),
        ):  # fmt: skip
            object.__setattr__(self, name, checked_number(getattr(self, name), name, positive))
        checked_duration(self.duration_s)
        check_reach(self.depth_mm, self.radius_mm)
        if self.force_N is not None:
            object.__setattr__(self, "force_N", checked_number(self.force_N, "force_N", positive=True))
        towards, point = checked_place("probe", self.structure, self.towards, self.point_mm)
        object.__setattr__(self, "towards", towards)
        object.__setattr__(self, "point_mm", point)
        if self.direction is not None:
            object.__setattr__(self, "direction", checked_vector(self.direction, "direction"))
            if self.direction == (0.0, 0.0, 0.0):
                raise SolverError("The direction of a probe is zero; give a direction such as [0, 1, 0].")

    def begin(self, field: OperativeField) -> Callable[[float], None]:
        """Bring the tip to where it first touches."""
        place = place_on(field, "probe", self.structure, self.towards, self.point_mm)
        point = np.asarray(place, dtype=np.float64)
        if self.direction is None:
            direction = inward_normal(field, point, self.radius_mm)
        else:
            direction = np.asarray(self.direction) / np.linalg.norm(self.direction)
        tip = probe_tip(self.radius_mm, direction, self.shaft_mm)
        touch = first_touch(field, tip, point, direction)
        pressing = Pressing(field, self.tool, tip.at(touch), direction, self.friction)
        curve = [(0.0, 0.0)]
        reached = 0.0

        def carry(share: float) -> None:
            nonlocal reached
            if reached:
                curve.append((pressing.depth_mm, pressing.force_N()))
            wanted = share * self.depth_mm
            if self.force_N is not None:
                wanted = min(wanted, pressing.depth_for(self.force_N, (share - reached) * self.depth_mm))
            pressing.to(wanted)
            reached = share
            if share >= 1.0:
                self._finish(field, pressing, curve, touch)

        return carry

    def _finish(
        self, field: OperativeField, pressing: Pressing, curve: list[tuple[float, float]], touch: Array
    ) -> None:
        """Come to rest, and say what was felt."""
        pressing.settle()
        if self.force_N is not None and pressing.force_N() > 0.9 * self.force_N:
            pressing.settle(self.force_N, self.depth_mm)
        depth, force = pressing.depth_mm, pressing.force_N()
        curve.append((depth, force))
        stiffness = force / depth if depth > 0 else 0.0
        field.tell(
            "probe",
            f"{self.tool} feels {force:.2f} N at a depth of {depth:.1f} mm ({stiffness:.2f} N/mm).",
            tool=self.tool,
            force_N=force,
            depth_mm=depth,
            stiffness_N_mm=stiffness,
            touch_mm=[float(x) for x in touch],
            depths_mm=[d for d, _ in curve],
            forces_N=[f for _, f in curve],
        )
