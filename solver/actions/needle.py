"""Needle: a needle is pushed along a straight line towards a target in the tissue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from solver.actions.act import FRAME_S, ITERATIONS, Act, Vector, checked_name, checked_number, checked_vector
from solver.anchors import Anchors, located, surface_crossed
from solver.errors import SolverError
from solver.insertion import Insertion
from solver.needle import GAUGE_18_MM, Needle, NeedleForces

if TYPE_CHECKING:
    from solver.field import OperativeField
    from solver.frame import Frame

# What a hand does with a needle, and more than any needle is wide.
SLOWEST_MM_S, FASTEST_MM_S, WIDEST_MM = 0.1, 100.0, 10.0
# An entry this far below the surface is still on it.
BELOW_MM = 3.0
# A target this far outside is still on the surface: rounding.
ROUNDING_MM = 0.1


@dataclass(frozen=True)
class InsertNeedle(Act):
    """Push a needle from an entry to where a target is now; the tissue, and the target in it, give way.

    Physics: capsule, cutting and friction forces hold the tissue to a stiff needle (`solver.needle`), which moves at
    constant speed along a fixed axis. At the end the distance from the tip to the place that was aimed at is told,
    with surfaces and vessels crossed and the largest force. With `correct` the needle is then pushed on until its tip
    is level with the target as it is now; what remains is beside the axis. It stays in place afterwards.

    Parameters
    ----------
    tool : str
        Name of the needle.
    entry_mm, target_mm : (float, float, float)
        Of the present shape, LPS millimetres; the entry outside the organ or on its surface, the target inside.
    speed_mm_s : float
        At which it is pushed, 0.1 to 100.
    diameter_mm : float
        Outer, at most 10; 1.27 is 18 gauge.
    correct : bool
        Whether it is pushed on after it has arrived.
    cutting_N, puncture_N, friction_N_mm : float, optional
        Forces that are known better than from the tissues.

    Raises
    ------
    SolverError
        If a value is out of range. When it begins: if the target is not in the organ, the entry is in it, or the
        name is taken.
    """

    act: ClassVar[str] = "needle"
    tool: str
    entry_mm: Vector
    target_mm: Vector
    speed_mm_s: float = 5.0
    diameter_mm: float = GAUGE_18_MM
    correct: bool = False
    cutting_N: float | None = None
    puncture_N: float | None = None
    friction_N_mm: float | None = None

    def __post_init__(self) -> None:
        checked_name(self.tool, "The needle's name")
        object.__setattr__(self, "entry_mm", checked_vector(self.entry_mm, "entry_mm"))
        object.__setattr__(self, "target_mm", checked_vector(self.target_mm, "target_mm"))
        if self.entry_mm == self.target_mm:
            raise SolverError("The needle's entry and its target are the same; give two points.")
        for name in ("speed_mm_s", "diameter_mm"):
            object.__setattr__(self, name, checked_number(getattr(self, name), name, positive=True))
        if not SLOWEST_MM_S <= self.speed_mm_s <= FASTEST_MM_S:
            raise SolverError(
                f"speed_mm_s is {self.speed_mm_s:g}; a hand pushes with {SLOWEST_MM_S:g} to {FASTEST_MM_S:g} mm/s."
            )
        if self.diameter_mm > WIDEST_MM:
            raise SolverError(
                f"diameter_mm is {self.diameter_mm:g}; needles are at most {WIDEST_MM:g} mm wide."
            )
        for name in ("cutting_N", "puncture_N", "friction_N_mm"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, checked_number(getattr(self, name), name))

    @property
    def length_s(self) -> float:
        """Time until the tip is where the target was, s."""
        return float(np.linalg.norm(np.subtract(self.target_mm, self.entry_mm))) / self.speed_mm_s

    def begin(self, field: OperativeField) -> Callable[[float], None]:
        """Hold the needle before the surface."""
        live, organ = field.live, field.organ
        if self.tool in live.loads or self.tool in live.tools:
            raise SolverError(f"There is already something named '{self.tool}'; give another name.")
        entry, target = np.asarray(self.entry_mm), np.asarray(self.target_mm)
        place = located(organ, live.positions, target)
        if place is None:
            # Names the distance where it is off; on the surface itself rounding decides.
            place = Anchors.at(organ, live.positions, target, "The target")
            if np.linalg.norm(place.points(live.positions)[0] - target) > ROUNDING_MM:
                raise SolverError("The target is outside the organ; choose one inside.")
        way = target - entry
        reach = float(np.linalg.norm(way))
        direction = way / reach
        start = self._start(field, entry, direction, reach)
        forces = NeedleForces.of(
            live.body, self.diameter_mm, self.cutting_N, self.puncture_N, self.friction_N_mm
        )
        live.add_load(self.tool, Needle.before(self.tool, organ, entry, direction, start, forces))
        onwards = self.speed_mm_s if self.correct else 0.0
        noted = Insertion(self.tool, place, target, start, speed_mm_s=onwards)
        field.processes = {**field.processes, self.tool: noted}

        def carry(share: float) -> None:
            push(field, self.tool, start + share * (reach - start))
            if share >= 1.0:
                field.processes = {**field.processes, self.tool: replace(self._noted(field), arrived=True)}

        return carry

    def _start(self, field: OperativeField, entry: np.ndarray, direction: np.ndarray, reach: float) -> float:
        """Depth before the surface from which the needle sets out, mm."""
        live = field.live
        within = located(field.organ, live.positions, entry) is not None
        first, last = (-BELOW_MM, 0.0) if within else (0.0, reach)
        found = surface_crossed(field.organ, live.positions, entry, direction, first, last, entering=True)
        if found is None:
            raise SolverError(
                "The needle's entry is inside the organ; choose a point on its surface or outside."
                if within
                else "The needle does not meet the organ's surface on its way to the target; choose another entry."
            )
        return min(0.0, found[0] - 0.5)

    def run(
        self,
        field: OperativeField,
        frame_s: float = FRAME_S,
        iterations: int = ITERATIONS,
        carry: Callable[[float], None] | None = None,
    ) -> Iterator[Frame]:
        """Push it in; the frames go on while its depth is corrected."""
        yield from super().run(field, frame_s, iterations, carry)
        while not self._looked(field).reported:
            yield field.step(iterations=iterations, advance_s=frame_s)

    def _looked(self, field: OperativeField) -> Insertion:
        """What was noted, the last step included."""
        noted = self._noted(field).advanced(field, 0.0)
        field.processes = {**field.processes, self.tool: noted}
        return noted

    def _noted(self, field: OperativeField) -> Insertion:
        noted = field.processes[self.tool]
        assert isinstance(noted, Insertion)
        return noted


def push(field: OperativeField, tool: str, depth_mm: float, withdrawing: bool = False) -> None:
    """Bring a needle to a depth."""
    needle = field.live.loads[tool]
    assert isinstance(needle, Needle)
    field.live.add_load(tool, needle.pushed(depth_mm, withdrawing))
