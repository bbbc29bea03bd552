"""Incise: a blade opens the tissue along a path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from solver.actions.act import Act, Vector, checked_duration, checked_name, checked_number, checked_vector
from solver.actions.stroke import Stroke, inward
from solver.cutting import BladeStroke
from solver.cutting.pieces import area_mm2
from solver.errors import SolverError
from solver.tissues import Tissue
from solver.topology import TopologyChange

if TYPE_CHECKING:
    from solver.field import OperativeField

Array = NDArray[np.float64]

# Deeper than any blade of a scalpel, longer than any organ.
DEEPEST_MM, LONGEST_MM = 100.0, 1000.0


@dataclass(frozen=True)
class Incise(Act):
    """Draw a blade through the tissue.

    Physics: the tissue parts along the surface the blade has swept, where it lies at the end of the stroke; cut faces
    carry no capsule and meet nothing, so that they open under tension. The blade does the work of fracture, toughness
    times the area it has laid open (counted once, in the scanned shape; Atkins 2009, The Science and Engineering of
    Cutting), the toughness that of each tissue it passes (`solver/tissues.toml`). Friction at the blade and the
    work that stretches the tissue before it parts are not counted, so the force is a lower bound. Mean force is
    work over the length of the stroke.

    Parameters
    ----------
    tool : str
        Name of the blade.
    path_mm : tuple of (float, float, float)
        Points it passes on the present surface, LPS millimetres; two at least.
    depth_mm : float
        How deep its tip reaches below them; at most 100.
    direction : (float, float, float), optional
        From handle to tip; by default into the tissue, across the surface under the path.
    duration_s : float
        Time of the stroke; the tissue parts at its end.

    Raises
    ------
    SolverError
        If a value is out of range.
    """

    act: ClassVar[str] = "incise"
    tool: str
    path_mm: tuple[Vector, ...]
    depth_mm: float = 10.0
    direction: Vector | None = None
    duration_s: float = 1.0

    def __post_init__(self) -> None:
        checked_name(self.tool, "The blade")
        if not isinstance(self.path_mm, tuple) or len(self.path_mm) < 2:
            raise SolverError("A stroke needs 'path_mm' with at least two points [x, y, z] in mm.")
        path = tuple(checked_vector(p, "A point of path_mm") for p in self.path_mm)
        length = float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
        if not 0 < length <= LONGEST_MM:
            raise SolverError(
                f"The stroke is {length:g} mm long; it must be longer than 0 and at most {LONGEST_MM:g}."
            )
        depth = checked_number(self.depth_mm, "depth_mm", positive=True)
        if depth > DEEPEST_MM:
            raise SolverError(f"depth_mm is {depth:g}; no blade reaches deeper than {DEEPEST_MM:g} mm.")
        object.__setattr__(self, "path_mm", path)
        object.__setattr__(self, "depth_mm", depth)
        object.__setattr__(self, "duration_s", checked_duration(self.duration_s))
        if self.direction is not None:
            object.__setattr__(self, "direction", checked_vector(self.direction, "direction"))
            if self.direction == (0.0, 0.0, 0.0):
                raise SolverError("The direction of the blade is zero; give a direction such as [0, 1, 0].")

    def sheet(self, exterior: NDArray[np.int64], positions: Array) -> BladeStroke:
        """The surface the blade sweeps, by the organ's outer facets (k, 3) and its vertices (n, 3)."""
        path = np.asarray(self.path_mm)
        direction = inward(exterior, positions, path) if self.direction is None else self.direction
        return BladeStroke(path, direction, self.depth_mm)

    def begin(self, field: OperativeField) -> Callable[[float], None]:
        """Set the blade down; the tissue parts when the stroke is done."""
        field.finish()
        exterior, tissues = field.organ.exterior, field.live.body.tissues

        def told(change: TopologyChange) -> None:
            text, values = self._told(change, tissues)
            field.tell("incision", text, **values)

        return Stroke(field, lambda positions: self.sheet(exterior, positions), told).carry

    def _told(
        self, change: TopologyChange, tissues: Mapping[str, Tissue]
    ) -> tuple[str, dict[str, float | str]]:
        """What a surgeon is told of the cut: area, depth, work and force."""
        length = float(np.linalg.norm(np.diff(self.path_mm, axis=0), axis=1).sum())
        area = change.cut_area_mm2
        known, least, work, most = cut_work(change, tissues)
        values: dict[str, float | str] = {
            "tool": self.tool, "area_mm2": area, "depth_mm": self.depth_mm, "length_mm": length,
        }  # fmt: skip
        text = f"'{self.tool}' has laid open {area / 100.0:.3g} cm², up to {self.depth_mm:.3g} mm deep"
        if known < 0.5 * area:
            return f"{text}; the toughness of that tissue is not known.", values
        values |= {
            "work_mJ": work, "least_work_mJ": least, "most_work_mJ": most, "mean_force_N": work / length,
        }  # fmt: skip
        if known < 0.999 * area:
            values["known_area_mm2"] = known
        return (
            f"{text}: {work:.3g} mJ ({least:.3g} to {most:.3g}), {work / length:.2g} N on the blade.",
            values,
        )


def cut_work(change: TopologyChange, tissues: Mapping[str, Tissue]) -> tuple[float, float, float, float]:
    """Work of fracture of a cut.

    Parameters
    ----------
    change : TopologyChange
    tissues : mapping of structure name to Tissue

    Returns
    -------
    known_mm2 : float
        Area, counted once, in tissue whose toughness is published.
    least, mean, most : float
        Work, mJ, at the least, the mean and the largest published toughness.
    """
    organ = change.after
    rows = change.raw_rows
    region = organ.region[organ.exterior_tets[rows]]
    facets = organ.exterior[rows]
    known = least = mean = most = 0.0
    for value in np.unique(region):
        toughness = tissues[organ.structures[int(value)]].toughness
        if toughness is not None:
            # Both sides are raw; 1 J/m² over 1 mm² is 1 µJ.
            area = 0.5 * area_mm2(organ.points, facets[region == value])
            known += area
            least += 1e-3 * area * toughness.low_J_m2
            mean += 1e-3 * area * toughness.energy_J_m2
            most += 1e-3 * area * toughness.high_J_m2
    return known, least, mean, most
