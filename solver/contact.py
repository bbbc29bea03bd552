"""Contact of a patch of the organ with a rigid shape, by augmented Lagrangians.

The shape may not be entered: with the gap g, the signed distance of the deformed surface to it (`solver.rigid`), and
the pressure p per reference area, g ≥ 0, p ≥ 0 and p g = 0. The pressure is that of a multiplier λ and a penalty ε,

    p = ⟨λ − ε g⟩,

and once Newton's method has found equilibrium for a λ, λ is replaced by p (Uzawa) until nothing enters the shape by
more than a tolerance: a moderate ε is then exact (Simo & Laursen 1992, Comput Struct 42:97; Wriggers 2006,
Computational Contact Mechanics, ch. 5 and 6). The λ of the last equilibrium stays: it is the one that is balanced.
Gap, pressure and multiplier live at the quadrature points of the surface triangles, so that a tool smaller than a facet
is felt where it is.

With friction the traction t along the surface follows Coulomb's law, |t| ≤ μ p, by return mapping: the trial λ_t − ε Δs
of the slip Δs since the last converged step is cut back to μ p along itself (Simo & Laursen 1992, § 4). Its tangent is
not symmetric.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array, csr_matrix

from solver.backend import basix, fem
from solver.body import Body
from solver.errors import SolverError
from solver.rigid import Shape

if TYPE_CHECKING:
    from solver.elements import Element

Array = NDArray[np.float64]
Index = NDArray[np.int64]

# Penalty over shear modulus a facet's edge, and penetration that is let through over that edge.
PENALTY, TOLERANCE = 100.0, 1e-3


class Contact:
    """Contact between a patch and a rigid shape.

    Parameters
    ----------
    name : str
        What the shape is called.
    patch : str
        A name of `Body.patches`: where the organ may be touched.
    shape : Shape
        `Sphere`, `Plane`, `Capsule` or `DistanceGrid` of `solver.rigid`.
    friction : float
        Coulomb's coefficient; wet serous surfaces slide, so that the default is none.
    penalty_kPa_mm : float, optional
        ε; the default follows the tissue and the mesh. The result does not depend on it.
    tolerance_mm : float, optional
        Largest penetration of a quadrature point; default a thousandth of a facet's edge.
    path : callable, optional
        From time in s to the displacement of the shape in mm, for `Dynamics`.

    Raises
    ------
    SolverError
        If friction is negative, or penalty or tolerance is not positive.
    """

    def __init__(
        self,
        name: str,
        patch: str,
        shape: Shape,
        friction: float = 0.0,
        penalty_kPa_mm: float | None = None,
        tolerance_mm: float | None = None,
        path: Callable[[float], ArrayLike] | None = None,
    ) -> None:
        if not (np.isfinite(friction) and friction >= 0):
            raise SolverError(f"The friction of '{name}' is {friction:g}; it must be zero or positive.")
        for what, value in (("penalty", penalty_kPa_mm), ("tolerance", tolerance_mm)):
            if value is not None and not (np.isfinite(value) and value > 0):
                raise SolverError(
                    f"The {what} of the contact with '{name}' is {value:g}; it must be positive."
                )
        self.name, self.patch, self.shape, self.friction, self.path = name, patch, shape, friction, path
        self.penalty_kPa_mm, self.tolerance_mm = penalty_kPa_mm, tolerance_mm
        self.conservative = friction == 0
        self.target_mm = np.zeros(3)
        self._bound: list[BoundContact] = []

    def move(self, displacement_mm: ArrayLike) -> None:
        """Put the shape this far from where it was made, mm, shape (3,); the next solve carries it there in steps."""
        target = np.asarray(displacement_mm, dtype=np.float64)
        if target.shape != (3,) or not np.isfinite(target).all():
            raise SolverError(f"'{self.name}' is moved by {displacement_mm!r}; give x, y, z in mm.")
        self.target_mm = target

    def at(self, time_s: float) -> None:
        """Put the shape where its path has it at a time."""
        if self.path is not None:
            self.move(self.path(time_s))
        for bound in self._bound:
            bound.offset = self.target_mm

    def virtual_work(self, body: Body, u: Any, v: Any, share: fem.Constant) -> int:
        """No form: contact is added to the assembled forces."""
        return 0

    def bind(self, element: Element) -> BoundContact:
        """The contact of an element's surface with the shape."""
        bound = BoundContact(self, element)
        self._bound.append(bound)
        return bound

    def support(self, body: Body) -> tuple[Index, Array]:
        """Vertices that touch the shape in the scan, shape (k,), and its stiffness there, mN/mm, shape (k, 3, 3)."""
        vertices = np.unique(_facets(self, body))
        points = body.organ.points[vertices] - self.target_mm
        gap, normal, _ = self.shape.distance(points)
        touching = gap < 1e-3 * float(np.ptp(body.organ.points, axis=0).max())
        along = normal[:, :, None] * normal[:, None, :]
        # Friction holds only what is pressed, which is not known yet.
        return vertices, touching[:, None, None] * along


class _Law(NamedTuple):
    """Traction at quadrature points and its derivative by their position."""

    traction: Array  # (f, q, 3) kPa
    slope: Array  # (f, q, 3, 3) kPa/mm
    pressure: Array  # (f, q) kPa
    tangential: Array  # (f, q, 3) kPa
    gap: Array  # (f, q) mm


class BoundContact:
    """A contact on the unknowns of one element: its forces, their tangent, and its multipliers.

    Attributes
    ----------
    offset : ndarray, shape (3,)
        Where the shape is now, from where it was made, mm.
    force_mN : ndarray, shape (3,)
        Force of the shape on the organ in the last equilibrium that was kept.
    """

    def __init__(self, contact: Contact, element: Element) -> None:
        self.contact, body = contact, element.body
        facets = _facets(contact, body)
        self.vertices, self._corner = np.unique(facets, return_inverse=True)
        self._corner = self._corner.reshape(-1, 3)
        nodes = _nodes_of_facets(element, facets)
        order = 1 if nodes.shape[1] == 3 else 2
        points, weights = (
            np.asarray(part) for part in basix.make_quadrature(basix.CellType.triangle, 2 * order)
        )
        self._linear = np.column_stack([1 - points.sum(axis=1), points])
        self._shapes = self._linear if order == 1 else _quadratic(self._linear)
        a, b, c = (body.reference_points[facets[:, i]] for i in range(3))
        area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
        self._weights = area[:, None] * 2 * weights
        self._unknowns = element.displacements[nodes]
        self._reference = (element.interpolation @ body.reference_points)[nodes]
        edge = float(np.sqrt(2 * area.mean()))
        shear = max(tissue.law.initial_shear_kPa for tissue in body.tissues.values())
        self.penalty = contact.penalty_kPa_mm or PENALTY * shear / edge
        self.tolerance_mm = contact.tolerance_mm or TOLERANCE * edge
        self._pressure = self._acting = np.zeros(self._weights.shape)
        self._tangential = np.zeros((*self._weights.shape, 3))
        self.offset = self._begin = np.zeros(3)
        self._stuck: tuple[Array, Array] | None = None
        self.force_mN = np.zeros(3)

    # ------------------------------------------------------------------ forces

    def force(self, x: Array) -> Array:
        """What contact adds to the out-of-balance force, mN, shape (unknowns,)."""
        law = self._law(self._positions(x))
        nodal = -np.einsum("fq,qa,fqi->fai", self._weights, self._shapes, law.traction)
        return np.bincount(self._unknowns.ravel(), nodal.ravel(), len(x))

    def stiffness(self, x: Array) -> csr_matrix:
        """Its derivative, mN/mm, shape (unknowns, unknowns)."""
        law = self._law(self._positions(x))
        touched = np.flatnonzero((law.pressure > 0).any(axis=1))
        blocks = -np.einsum(
            "fq,qa,qb,fqij->faibj",
            self._weights[touched],
            self._shapes,
            self._shapes,
            law.slope[touched],
            optimize=True,
        )
        size = 3 * self._unknowns.shape[1]
        unknowns = self._unknowns[touched].reshape(len(touched), size)
        rows, columns = np.repeat(unknowns, size, axis=1), np.tile(unknowns, (1, size))
        matrix = coo_array((blocks.ravel(), (rows.ravel(), columns.ravel())), shape=(len(x), len(x)))
        return csr_matrix(matrix)

    def _positions(self, x: Array) -> Array:
        return np.einsum("qa,fai->fqi", self._shapes, self._reference + x[self._unknowns])

    def _law(self, positions: Array) -> _Law:
        shape = positions.shape
        found = self.contact.shape.distance((positions - self.offset).reshape(-1, 3))
        gap, normal = found.gap.reshape(shape[:2]), found.normal.reshape(shape)
        curvature = found.curvature.reshape(*shape, 3)
        pressure = np.maximum(self._pressure - self.penalty * gap, 0.0)
        active = (pressure > 0)[..., None, None]
        along = normal[..., :, None] * normal[..., None, :]
        slope = active * (-self.penalty * along + pressure[..., None, None] * curvature)
        traction = pressure[..., None] * normal
        tangential = np.zeros(shape)
        if self.contact.friction:
            tangential, more = self._rub(positions, normal, pressure, along)
            traction, slope = traction + tangential, slope + active * more
        return _Law(traction, slope, pressure, tangential, gap)

    def _rub(self, positions: Array, normal: Array, pressure: Array, along: Array) -> tuple[Array, Array]:
        """Friction and its derivative, the turning of the normal left out."""
        stuck, offset = self._stuck or (positions, self.offset)
        across = np.eye(3) - along
        slip = (positions - stuck) - (self.offset - offset)
        trial = np.einsum("fqij,fqj->fqi", across, self._tangential - self.penalty * slip)
        size = np.linalg.norm(trial, axis=-1)
        limit = self.contact.friction * pressure
        slides = size > limit
        share = np.where(slides, limit / np.maximum(size, 1e-300), 1.0)
        direction = trial / np.maximum(size, 1e-300)[..., None]
        twist = across - direction[..., :, None] * direction[..., None, :]
        sliding = -self.penalty * share[..., None, None] * twist
        sliding -= self.contact.friction * self.penalty * direction[..., :, None] * normal[..., None, :]
        slope = np.where(slides[..., None, None], sliding, -self.penalty * across)
        return share[..., None] * trial, slope

    # ------------------------------------------------------------------ multipliers

    def moves(self) -> bool:
        """Whether the path that was begun leads the shape anywhere."""
        return bool(np.any(self._begin != self.contact.target_mm))

    def begin(self, x: Array) -> None:
        """Begin a path from unknowns, with the shape where it was left."""
        self._begin = self.offset
        if self._stuck is None:
            self._stuck = (self._positions(x), self.offset)

    def follow(self, share: float) -> None:
        """Put the shape a share of the way to its target."""
        self.offset = self._begin + share * (self.contact.target_mm - self._begin)

    def augment(self, x: Array) -> bool:
        """Replace the multipliers by the tractions of converged unknowns where these have still to settle.

        Returns
        -------
        bool
            Whether they have; if not, the multipliers stay as they are, and the unknowns in balance with them.
        """
        law = self._law(self._positions(x))
        change = float(np.abs(law.pressure - self._pressure).max())
        if self.contact.friction:
            change = max(change, float(np.abs(law.tangential - self._tangential).max()))
        if change <= self.penalty * self.tolerance_mm:
            return False
        self._pressure, self._tangential = law.pressure, law.tangential
        return True

    def commit(self, x: Array) -> None:
        """Keep converged unknowns, their tractions, and where the surface sticks."""
        positions = self._positions(x)
        law = self._law(positions)
        self._acting = law.pressure
        self.force_mN = np.einsum("fq,fqi->i", self._weights, law.traction)
        # From here the slip counts anew, so that its multiplier must be all of the friction.
        self._tangential, self._stuck = law.tangential, (positions, self.offset)

    def snapshot(self) -> tuple[Any, ...]:
        """What `restore` needs to go back."""
        return self._pressure, self._acting, self._tangential, self.offset, self._stuck, self.force_mN

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        """Go back to a snapshot."""
        self._pressure, self._acting, self._tangential, self.offset, self._stuck, self.force_mN = snapshot

    def pressure_kPa(self) -> tuple[Index, Array]:
        """Vertices of the patch, shape (k,), and the mean pressure around each, kPa per reference area, shape (k,)."""
        share = np.einsum("fq,qa->fa", self._weights, self._linear).ravel()
        force = np.einsum("fq,qa,fq->fa", self._weights, self._linear, self._acting).ravel()
        corner = self._corner.ravel()
        return self.vertices, np.bincount(corner, force) / np.bincount(corner, share)


class Contacts:
    """All contacts of an element along one path of a solver: steps are kept, taken back, or undone to its beginning.

    Parameters
    ----------
    element : Element
    x : ndarray, shape (unknowns,)
        Where the path begins.

    Attributes
    ----------
    moving : bool
        Whether a shape moves along the path.
    """

    def __init__(self, element: Element, x: Array) -> None:
        self.bound = element.bound
        for bound in self.bound:
            bound.begin(x)
        self.moving = any(bound.moves() for bound in self.bound)
        self._first = self._last = [bound.snapshot() for bound in self.bound]

    def follow(self, share: float) -> None:
        """Put every shape a share of the way to its target."""
        for bound in self.bound:
            bound.follow(share)

    def augment(self, x: Array) -> bool:
        """Replace the multipliers by the tractions of converged unknowns; True while one has still to settle."""
        settling = [bound.augment(x) for bound in self.bound]
        return any(settling)

    def commit(self, x: Array) -> None:
        """Keep a step."""
        for bound in self.bound:
            bound.commit(x)
        self._last = [bound.snapshot() for bound in self.bound]

    def back(self) -> None:
        """Go back to the last step that was kept."""
        for bound, snapshot in zip(self.bound, self._last, strict=True):
            bound.restore(snapshot)

    def undo(self) -> None:
        """Go back to the beginning of the path."""
        for bound, snapshot in zip(self.bound, self._first, strict=True):
            bound.restore(snapshot)


def _facets(contact: Contact, body: Body) -> Index:
    if contact.patch not in body.patches:
        raise SolverError(
            f"The contact with '{contact.name}' is on the patch '{contact.patch}', which the body does not have; it "
            f"has {', '.join(body.patches) or 'none'}."
        )
    return np.asarray(body.patches[contact.patch], dtype=np.int64)


def _nodes_of_facets(element: Element, facets: Index) -> Index:
    """Nodes of each facet: its corners, and for quadratic displacements the midpoints of edges 01, 12 and 20."""
    rows = element.interpolation.tocsr()
    counts = np.diff(rows.indptr)
    at_vertex = np.full(rows.shape[1], -1)
    single = np.flatnonzero(counts == 1)
    at_vertex[rows.indices[rows.indptr[single]]] = single
    corners = at_vertex[facets]
    double = np.flatnonzero(counts == 2)
    if not len(double):
        return corners
    ends = np.sort(rows.indices[rows.indptr[double][:, None] + np.arange(2)], axis=1)
    keys = ends[:, 0] * rows.shape[1] + ends[:, 1]
    order = np.argsort(keys)
    edges = np.sort(facets[:, [[0, 1], [1, 2], [2, 0]]], axis=-1)
    wanted = edges[..., 0].astype(np.int64) * rows.shape[1] + edges[..., 1]
    return np.hstack([corners, double[order][np.searchsorted(keys[order], wanted)]])


def _quadratic(corner: Array) -> Array:
    """Quadratic shape functions of a triangle from its barycentric coordinates, shape (q, 6)."""
    a, b, c = corner.T
    return np.column_stack(
        [a * (2 * a - 1), b * (2 * b - 1), c * (2 * c - 1), 4 * a * b, 4 * b * c, 4 * c * a]
    )
