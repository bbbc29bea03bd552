"""What a case's vessels feed, and what closing one would take from the organ.

Numbers are volumes of voxels of the label map: the territory of the node nearest to a clamp, and everything below it
(`anatomy.vessels.territories`). A vein's territory is what it drains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anatomy.progress import Progress, silent
from anatomy.vessels import territories
from anatomy.vessels.liver import whole_liver
from anatomy.vessels.territories import Weighting
from twin.case import Case
from twin.errors import TwinError

#: A clamp farther than this from every vessel closes none, mm.
REACH_MM = 15.0


@dataclass(frozen=True)
class Clamped:
    """A vessel closed at a point, and what follows.

    Parameters
    ----------
    point_mm : tuple of float
        Where the clamp was asked for, LPS mm.
    system : str
        The vessel system it closes.
    node : int
        Node of the system's tree.
    distance_mm : float
        From the point to the vessel's centreline.
    calibre_mm : float
        Diameter of the vessel there.
    territory_ml, share : float
        Tissue fed (of a vein: drained) through it alone, ml, and its share of the organ, 0 to 1.
    """

    point_mm: tuple[float, float, float]
    system: str
    node: int
    distance_mm: float
    calibre_mm: float
    territory_ml: float
    share: float


def clamp(
    case: Case,
    points_mm: Sequence[tuple[float, float, float]],
    weighting: Weighting = "nearest",
    progress: Progress = silent,
) -> list[Clamped]:
    """Close the vessel nearest to each point, one at a time.

    Parameters
    ----------
    case : Case
        With vessel trees.
    points_mm : sequence of (x, y, z)
        LPS millimetres, in the scanned shape.
    weighting : {"nearest", "calibre"}
        See `anatomy.vessels.territories`.
    progress : Progress

    Raises
    ------
    TwinError
        If the case has no vessel trees, or a point is no number or lies away from every vessel.
    """
    trees = case.vessels
    if not trees:
        raise TwinError(
            f"The case {case.path} has no vessel trees; build it with portal_vein and hepatic_vein among its "
            "structures."
        )
    organ = whole_liver(case.labels)
    fed = {}
    found = []
    for number, point in enumerate(points_mm):
        if not np.isfinite(point).all():
            raise TwinError(f"A clamp needs a point x, y, z in LPS mm, not {tuple(point)}.")
        near = {name: tree.nearest(point) for name, tree in trees.items()}
        system = min(near, key=lambda name: near[name][1])
        node, distance = near[system]
        if distance > REACH_MM:
            raise TwinError(
                f"No vessel lies within {REACH_MM:g} mm of ({point[0]:g}, {point[1]:g}, {point[2]:g}) mm: the nearest, "
                f"of {system}, is {distance:.0f} mm away; give a point on a vessel, LPS mm."
            )
        if system not in fed:
            fed[system] = territories(organ, trees[system], weighting, progress=progress)
        ml, total = float(fed[system].fed_ml[node]), float(fed[system].node_ml.sum())
        calibre = 2.0 * float(trees[system].radius[node])
        found.append(Clamped(point, system, node, distance, calibre, ml, ml / total))
        progress("closing vessels", (number + 1) / len(points_mm))
    return found
