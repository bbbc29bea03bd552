"""StrengthWatch: tissue at its limit beside the tools.

Organs tear where they are stretched too far, and that is mostly beside a tool. The stretch is compared, not the
stress: the laws of `tissues.toml` describe the moderate strains of elastography, and do not stiffen before failure as
the tissue in a tensile test does, so that their stress there says little. At each vertex beside a tool the first
principal stretch of the tetrahedra around it, averaged by volume, is held against the published strain at failure
(`solver.tissues.Strength`); tetrahedra that are rigid in a tool's jaws are left out. Each place is told once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from solver.live_contact import LiveContact
from solver.topology import TopologyChange

if TYPE_CHECKING:
    from solver.field import OperativeField

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

# Places nearer to one another than this, in the stress-free shape, are one.
SAME_PLACE_MM = 10.0


@dataclass(frozen=True, eq=False)
class StrengthWatch:
    """A process of the field that tells when tissue beside a tool is stretched beyond its strength.

    Parameters
    ----------
    told_mm : ndarray, shape (k, 3)
        Places in the stress-free shape that have been told.
    """

    told_mm: Array

    @classmethod
    def new(cls) -> StrengthWatch:
        """A watch that has told nothing yet."""
        return cls(np.zeros((0, 3)))

    def advanced(self, operated: OperativeField, seconds: float) -> StrengthWatch:
        """Look at the tissue beside every tool; an event "tear" for each new place."""
        watch = self
        for tool, vertices in beside_tools(operated).items():
            watch = watch._looked(operated, tool, vertices)
        return watch

    def carried(self, change: TopologyChange) -> StrengthWatch:
        """The same; places do not depend on the mesh."""
        return self

    def _looked(self, operated: OperativeField, tool: str, beside: Ints) -> StrengthWatch:
        body = operated.live.body
        held = operated.live.held_by(tool) if tool in operated.live.tools else np.zeros(0, dtype=np.int64)
        vertices, stretch, structure = stretches_around(operated, beside, held)
        watch = self
        for name, tissue in body.tissues.items():
            strength = tissue.strength
            if strength is None:
                continue
            own = np.flatnonzero((structure == body.organ.value_of(name)) & (stretch - 1.0 > strength.strain))
            for at in own[np.argsort(-stretch[own], kind="stable")]:
                place = body.reference_points[vertices[at]]
                if (np.linalg.norm(watch.told_mm - place, axis=1) < SAME_PLACE_MM).any():
                    continue
                watch = replace(watch, told_mm=np.vstack([watch.told_mm, place]))
                x, y, z = (float(v) for v in operated.live.positions[vertices[at]])
                percent = 100 * (stretch[at] - 1.0)
                operated.tell(
                    "tear",
                    f"The {name.replace('_', ' ')} beside '{tool}' is stretched by {percent:.0f} %, beyond the "
                    f"{100 * strength.strain:.0f} ± {100 * strength.spread:.0f} % at which it tears, at "
                    f"({x:.0f}, {y:.0f}, {z:.0f}) mm.",
                    tool=tool, structure=name, strain=float(stretch[at] - 1.0), limit_strain=strength.strain,
                    limit_spread=strength.spread, place_mm=[x, y, z], source=strength.source,
                )  # fmt: skip
        return watch


def beside_tools(operated: OperativeField) -> dict[str, Ints]:
    """Vertices that each tool holds or touches, by the tool's name."""
    live = operated.live
    found = {tool: live.held_by(tool) for tool in live.tools}
    for name, load in live.loads.items():
        if isinstance(load, LiveContact):
            rows = load.touch(live.positions).rows
            found[name] = np.unique(load.surface.facets[rows])
    return {tool: vertices for tool, vertices in found.items() if len(vertices)}


def stretches_around(operated: OperativeField, beside: Ints, held: Ints) -> tuple[Ints, Array, Ints]:
    """First principal stretch at the vertices of all tetrahedra that touch given ones.

    Parameters
    ----------
    operated : OperativeField
    beside : ndarray, shape (k,), int64
        Vertices beside a tool.
    held : ndarray, int64
        Vertices that are rigid; tetrahedra with four of them are left out.

    Returns
    -------
    vertices : ndarray, shape (v,), int64
    stretch : ndarray, shape (v,), float64
        Mean by volume over the tetrahedra around.
    structure : ndarray, shape (v,), int64
        Region value of the largest share of them.
    """
    body, positions = operated.live.body, operated.live.positions
    marked = np.zeros(len(positions), dtype=bool)
    marked[beside] = True
    tets = body.organ.tets
    near = np.flatnonzero(marked[tets].any(axis=1) & ~np.isin(tets, held).all(axis=1))
    marked[:] = False
    marked[tets[near]] = True
    around = np.flatnonzero(marked[tets].any(axis=1) & ~np.isin(tets, held).all(axis=1))
    corners = tets[around]
    reference, present = (
        np.moveaxis(p[corners[:, 1:]] - p[corners[:, :1]], 1, 2) for p in (body.reference_points, positions)
    )
    gradient = present @ np.linalg.inv(reference)
    largest = np.linalg.svd(gradient, compute_uv=False)[:, 0]
    volume = np.abs(np.linalg.det(reference)) / 6.0
    n = len(positions)
    total = np.bincount(corners.ravel(), np.repeat(volume, 4), minlength=n)
    mean = np.bincount(corners.ravel(), np.repeat(volume * largest, 4), minlength=n)
    vertices = np.unique(tets[near])
    values = np.unique(body.organ.region)
    shares = np.stack(
        [
            np.bincount(corners.ravel(), np.repeat(volume * (body.organ.region[around] == v), 4), minlength=n)
            for v in values
        ]
    )[:, vertices]
    structure = values[np.argmax(shares, axis=0)].astype(np.int64)
    return vertices, mean[vertices] / total[vertices], structure
