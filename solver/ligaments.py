"""Ligaments as bundles of fibres that pull and never push.

A ligament joins a patch of the organ to fixed anatomy. Its fibres start all over the patch and end in one point
(a cord) or each at its own distance (a sheet). A fibre of rest length L₀ that is l long carries nothing while it is
slack; past a toe in which its crimp straightens it is linear:

    N = k L₀ / (2 ε_t) (⟨ε⟩² − ⟨ε − ε_t⟩²),   ε = l/L₀ − 1,

which is k L₀ (ε − ε_t/2) beyond the toe and has a continuous slope (Blankevoort et al. 1991, J Biomech 24:1019, whose
ε_l is half of ε_t). A force on one point of a continuum has no answer that a finer mesh converges to, so the
insertion is a patch and k is shared out over its area.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solver.backend import basix, fem, ufl
from solver.body import Body
from solver.errors import SolverError

Array = NDArray[np.float64]
Index = NDArray[np.int64]

# End of the toe: twice the reference strain of Blankevoort et al. 1991.
TOE_STRAIN = 0.06

DEGREE = 4
_POINTS, _WEIGHTS = (np.asarray(part) for part in basix.make_quadrature(basix.CellType.triangle, DEGREE))
_SHAPES = np.column_stack([1 - _POINTS.sum(axis=1), _POINTS])


class Ligament:
    """A tension-only spring between a patch of the organ and fixed anatomy.

    Parameters
    ----------
    name : str
        What it is called.
    patch : str
        A name of `Body.patches`: where it inserts in the organ.
    anchor_mm : array-like, shape (3,)
        Its other end, LPS.
    stiffness_mN_mm : float
        Force per lengthening of the whole ligament beyond its toe, EA/L.
    slack_mm : float, optional
        Rest length L₀; default the length of every fibre in the scan, so that it is just taut there.
    sheet : bool
        True lets every fibre run parallel to the line from the patch's centre to the anchor; default all end in the
        anchor.
    source : str
        Where the stiffness comes from.

    Raises
    ------
    SolverError
        If the stiffness or the rest length is not positive, or the anchor is not a point.
    """

    conservative = True

    def __init__(
        self,
        name: str,
        patch: str,
        anchor_mm: ArrayLike,
        stiffness_mN_mm: float,
        slack_mm: float | None = None,
        sheet: bool = False,
        source: str = "",
    ) -> None:
        anchor = np.asarray(anchor_mm, dtype=np.float64)
        if anchor.shape != (3,) or not np.isfinite(anchor).all():
            raise SolverError(f"The anchor of the ligament '{name}' is {anchor_mm!r}; give x, y, z in mm.")
        if not (np.isfinite(stiffness_mN_mm) and stiffness_mN_mm > 0):
            raise SolverError(
                f"The ligament '{name}' has stiffness {stiffness_mN_mm:g} mN/mm; it must be positive."
            )
        if slack_mm is not None and not (np.isfinite(slack_mm) and slack_mm > 0):
            raise SolverError(f"The ligament '{name}' has rest length {slack_mm:g} mm; it must be positive.")
        self.name, self.patch, self.anchor_mm, self.sheet = name, patch, anchor, sheet
        self.stiffness_mN_mm, self.slack_mm, self.source = float(stiffness_mN_mm), slack_mm, source
        self.released = False
        self._holding: list[fem.Constant] = []

    def release(self) -> None:
        """Divide the ligament; solvers that were built with it see it at once."""
        self.released = True
        for holding in self._holding:
            holding.value[()] = 0.0

    # ------------------------------------------------------------------ mechanics

    def virtual_work(self, body: Body, u: Any, v: Any, share: fem.Constant) -> ufl.Form:
        """Virtual work of the fibres at displacement u in direction v; they are there at every share of the load."""
        facets = self._facets(body)
        area, centre = _area_centre(body.organ.points, facets)
        holding = fem.Constant(body.mesh, 0.0 if self.released else 1.0)
        self._holding.append(holding)
        scanned = fem.Function(body.space)
        scanned.x.array[:] = body.from_organ(body.scanned_displacement).ravel()
        if self.sheet:
            in_scan: Any = fem.Constant(body.mesh, self.anchor_mm - centre)
        else:
            in_scan = fem.Constant(body.mesh, self.anchor_mm) - ufl.SpatialCoordinate(body.mesh) - scanned
        fibre = in_scan + scanned - u
        length = ufl.sqrt(ufl.inner(fibre, fibre))
        rest = (
            ufl.sqrt(ufl.inner(in_scan, in_scan))
            if self.slack_mm is None
            else fem.Constant(body.mesh, float(self.slack_mm))
        )
        strain = length / rest - 1
        toe = ufl.max_value(strain, 0.0) ** 2 - ufl.max_value(strain - TOE_STRAIN, 0.0) ** 2
        tension = fem.Constant(body.mesh, self.stiffness_mN_mm / area) * rest * toe / (2 * TOE_STRAIN)
        measure = body.patch(self.patch)(metadata={"quadrature_degree": DEGREE})
        return holding * tension * ufl.inner(fibre / length, v) * measure

    def support(self, body: Body) -> tuple[Index, Array]:
        """Vertices it holds in the scanned shape, shape (k,), with repeats, and its stiffness there, mN/mm, (k, 3, 3).

        A slack ligament holds nothing, nor does one that is just taut or divided.
        """
        tension, slope, fibre, length = self._fibres(body, body.scanned_displacement)
        direction = fibre / length[..., None]
        along = direction[..., :, None] * direction[..., None, :]
        stiffness = slope[..., None, None] * along
        stiffness += (tension / length)[..., None, None] * (np.eye(3) - along)
        vertices = self._facets(body)
        springs = np.einsum("qa,fqij->faij", _SHAPES, stiffness).reshape(-1, 3, 3)
        return vertices.ravel(), float(not self.released) * springs

    def force_mN(self, body: Body, from_reference: Array) -> Array:
        """Force with which it pulls the organ, mN, shape (3,).

        Parameters
        ----------
        from_reference : ndarray, shape (n, 3)
            Displacement of the organ's vertices from the stress-free shape, mm (`State.from_reference`).
        """
        tension, _, fibre, length = self._fibres(body, from_reference)
        return float(not self.released) * np.einsum("fq,fqi->i", tension / length, fibre)

    def _facets(self, body: Body) -> Index:
        if self.patch not in body.patches:
            raise SolverError(
                f"The ligament '{self.name}' inserts in the patch '{self.patch}', which the body does not have; "
                f"it has {', '.join(body.patches) or 'none'}."
            )
        return np.asarray(body.patches[self.patch], dtype=np.int64)

    def _fibres(self, body: Body, displacement: Array) -> tuple[Array, Array, Array, Array]:
        """Tension mN and slope mN/mm, vector and length mm, of the fibres at the quadrature points of each facet."""
        facets = self._facets(body)
        area, centre = _area_centre(body.organ.points, facets)
        a, b, c = (body.organ.points[facets[:, i]] for i in range(3))
        share = np.outer(np.linalg.norm(np.cross(b - a, c - a), axis=1) / area, _WEIGHTS)
        scanned = np.einsum("qa,fai->fqi", _SHAPES, body.organ.points[facets])
        now = np.einsum("qa,fai->fqi", _SHAPES, (body.reference_points + displacement)[facets])
        end = scanned + (self.anchor_mm - centre) if self.sheet else self.anchor_mm
        fibre = end - now
        length = np.linalg.norm(fibre, axis=-1)
        rest = np.linalg.norm(end - scanned, axis=-1) if self.slack_mm is None else self.slack_mm
        strain = length / rest - 1
        upto, beyond = np.maximum(strain, 0.0), np.maximum(strain - TOE_STRAIN, 0.0)
        stiffness = self.stiffness_mN_mm * share
        tension = stiffness * rest * (upto**2 - beyond**2) / (2 * TOE_STRAIN)
        return tension, stiffness * (upto - beyond) / TOE_STRAIN, fibre, length


def _area_centre(points: Array, facets: Index) -> tuple[float, Array]:
    """Area in mm² and centroid of triangles."""
    a, b, c = (points[facets[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    return float(area.sum()), np.asarray(area @ (a + b + c) / 3 / area.sum())
