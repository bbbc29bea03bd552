"""Grip: what tools hold together, and the moves for which a reduced model of it is trained.

A held patch follows its tool rigidly, so that the tissue at rest under m tools is a function of 3 m numbers, the moves
of the tools since they took hold. A reduced model is made for one grip, that is for patches taken from the tissue at
rest, and for moves within a reach and within a cone around the outward normal of the place: what a hand that lifts,
pulls and pushes aside does. Outside the convex hull of the moves it was trained on, the model does not answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import ConvexHull

from anatomy.mesh import OrganMesh
from solver.errors import SolverError
from solver.patch import Patch, find_patch

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

REACH_MM = 30.0
RADIUS_MM = 8.0
# Widest angle between a pull and the outward normal of the place; beyond it the tool presses into the organ.
CONE_DEG = 80.0
# Moves inward and sideways that a hand makes as it takes hold, as a share of the reach.
PLAY = 0.2
# How far a grasp may be from a trained place and still take its patch, as a share of the patch's radius.
CATCH = 0.5


@dataclass(frozen=True, eq=False)
class Grip:
    """Patches held together, each by a tool of its own.

    Parameters
    ----------
    points_mm : ndarray, shape (m, 3), float64
        Where each tool takes hold of the resting tissue, LPS mm.
    normals : ndarray, shape (m, 3), float64
        Outward unit normals there.
    patches : tuple of ndarray of int64
        Vertices of each patch, OrganMesh order.
    radius_mm, reach_mm : float
        Of the patches, and how far a tool may go.
    """

    points_mm: Array
    normals: Array
    patches: tuple[Ints, ...]
    radius_mm: float
    reach_mm: float

    @property
    def tools(self) -> int:
        """Number of tools m."""
        return len(self.patches)


def grip_of(
    organ: OrganMesh, points_mm: ArrayLike, radius_mm: float = RADIUS_MM, reach_mm: float = REACH_MM
) -> Grip:
    """The grip of tools that take hold of the resting organ at points.

    Parameters
    ----------
    organ : OrganMesh
    points_mm : array-like, shape (m, 3)
        LPS mm.
    radius_mm, reach_mm : float

    Raises
    ------
    SolverError
        If there is nothing to grasp at a point, or a number is not positive.
    """
    points = np.atleast_2d(np.asarray(points_mm, dtype=np.float64))
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise SolverError("A place to grasp is three finite numbers, LPS mm.")
    for value, what in ((radius_mm, "radius of a grasp"), (reach_mm, "reach of a pull")):
        if not (np.isfinite(value) and value > 0):
            raise SolverError(f"The {what} is {value:g} mm; it must be positive.")
    rest = np.zeros_like(organ.points)
    taken = np.zeros(0, dtype=np.int64)
    patches: list[Patch] = []
    for point in points:
        patches.append(find_patch(organ, organ.points, point, radius_mm, taken, rest))
        taken = np.concatenate([taken, patches[-1].vertices])
    normal = vertex_normals(organ)
    outward = np.array([normal[p.vertices].sum(axis=0) for p in patches])
    length = np.linalg.norm(outward, axis=1)
    if (length == 0).any():
        x, y, z = points[np.argmin(length)]
        raise SolverError(
            f"The place ({x:.1f}, {y:.1f}, {z:.1f}) mm is inside the organ; choose one on its surface."
        )
    return Grip(
        points,
        outward / length[:, None],
        tuple(p.vertices for p in patches),
        float(radius_mm),
        float(reach_mm),
    )


def vertex_normals(organ: OrganMesh) -> Array:
    """Outward normals at the vertices, weighted by area, mm², shape (n, 3); zero inside."""
    a, b, c = (organ.points[organ.exterior[:, i]] for i in range(3))
    area = np.cross(b - a, c - a) / 2
    normal = np.zeros_like(organ.points)
    for i in range(3):
        np.add.at(normal, organ.exterior[:, i], area)
    return normal


def spread_places(organ: OrganMesh, held: Ints, count: int, structure: str | None = None) -> Array:
    """Places to grasp, as far from each other as they can be, on the surface that nothing holds.

    Farthest points first (Gonzalez 1985, Theor Comput Sci 38:293), from the lowest place of the patient lying on the
    back that a hand reaches first: the one farthest to the feet.

    Parameters
    ----------
    organ : OrganMesh
    held : ndarray of int64
        Vertices that attachments hold firmly.
    count : int
    structure : str, optional
        Only the surface of this structure; default the largest.

    Returns
    -------
    ndarray, shape (count, 3), float64
        LPS mm, fewer where the surface has no more vertices.
    """
    if structure is None:
        structure = max(organ.volumes_ml, key=lambda name: organ.volumes_ml[name])
    free = np.setdiff1d(np.intersect1d(np.unique(organ.exterior), organ.vertices_of(structure)), held)
    if not len(free):
        raise SolverError(f"Nothing of the surface of {structure} is free to be grasped.")
    points = organ.points[free]
    chosen = [int(np.argmin(points[:, 2]))]
    distance = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return points[chosen]


def training_moves(grip: Grip, rays: int, seed: int) -> list[Array]:
    """Moves to train on: rays, each a sequence of moves from near to far.

    Directions fill the cone by a spiral (golden angle) and close it by a rim, so that the hull of their ends is the
    cone but for its facets; several tools move each along a ray of its own, in a random order.

    Parameters
    ----------
    grip : Grip
    rays : int
        How many.
    seed : int

    Returns
    -------
    list of ndarray, shape (k, m, 3)
        mm from where the tools took hold.
    """
    random = np.random.default_rng(seed)
    ends = []
    for normal in grip.normals:
        inward = max(4, rays // 5)
        outward = cone_directions(normal, rays - inward, CONE_DEG, random)
        steep = cone_directions(normal, inward, 175.0, random)
        # As many moves inward as make the hull hold the place itself.
        back = PLAY * (steep - 2 * np.maximum(steep @ normal, 0)[:, None] * normal)
        moves = grip.reach_mm * np.concatenate([outward, back])
        ends.append(moves if grip.tools == 1 else moves[random.permutation(len(moves))])
    shares = (1 / 3, 2 / 3, 1.0)
    return [np.array([[share * end[ray] for end in ends] for share in shares]) for ray in range(rays)]


def cone_directions(axis: Array, count: int, angle_deg: float, random: np.random.Generator) -> Array:
    """Unit vectors within an angle of an axis, evenly, about a third of them on the rim; shape (count, 3)."""
    rim = max(1, count // 3)
    inside = count - rim
    cosine = 1 - (1 - np.cos(np.radians(angle_deg))) * (np.arange(inside) + 0.5) / max(inside, 1)
    turn = np.pi * (3 - np.sqrt(5)) * np.arange(inside)
    cosine = np.concatenate([cosine, np.full(rim, np.cos(np.radians(angle_deg)))])
    turn = np.concatenate([turn, 2 * np.pi * np.arange(rim) / rim]) + random.uniform(0, 2 * np.pi)
    helper = np.eye(3)[np.argmin(np.abs(axis))]
    first = np.cross(axis, helper)
    first /= np.linalg.norm(first)
    second = np.cross(axis, first)
    sine = np.sqrt(1 - cosine**2)
    return (
        cosine[:, None] * axis
        + (sine * np.cos(turn))[:, None] * first
        + (sine * np.sin(turn))[:, None] * second
    )


@dataclass(frozen=True, eq=False)
class Range:
    """Moves a model was trained on: for each tool the convex hull of its training moves.

    Parameters
    ----------
    facets : tuple of ndarray, shape (f, 4)
        Of each tool, outward unit normals and offsets in mm: inside, normal · move + offset ≤ 0.
    """

    facets: tuple[Array, ...]

    @classmethod
    def around(cls, moves: Array) -> Range:
        """The hull of moves, shape (N, m, 3), mm, and of the place itself.

        Raises
        ------
        SolverError
            If they do not span three dimensions.
        """
        found = []
        for tool in range(moves.shape[1]):
            points = np.vstack([moves[:, tool], np.zeros((1, 3))])
            if np.linalg.matrix_rank(points, tol=1e-6) < 3:
                raise SolverError("Too few pulls could be trained here to span a range; reduce the reach.")
            found.append(ConvexHull(points).equations)
        return cls(tuple(found))

    def beyond(self, moves: Sequence[Array]) -> float:
        """How far, mm, moves (one a tool) are outside; negative inside."""
        return max(float((f[:, :3] @ m + f[:, 3]).max()) for f, m in zip(self.facets, moves, strict=True))

    def draw(self, count: int, seed: int) -> Array:
        """Moves drawn evenly from inside, shape (count, m, 3), mm."""
        random = np.random.default_rng(seed)
        drawn = np.empty((count, len(self.facets), 3))
        for tool, facets in enumerate(self.facets):
            far = np.abs(facets[:, 3]).max() + 1.0
            low, high = _box(facets, far)
            done = 0
            while done < count:
                move = random.uniform(low, high)
                if (facets[:, :3] @ move + facets[:, 3]).max() < 0:
                    drawn[done, tool] = move
                    done += 1
        return drawn


def _box(facets: Array, far: float) -> tuple[Array, Array]:
    """Bounds of the polytope of facets along the axes."""
    from scipy.optimize import linprog

    ends = [
        linprog(sign * np.eye(3)[i], facets[:, :3], -facets[:, 3], bounds=[(-1e3 * far, 1e3 * far)] * 3).x[i]
        for sign in (1.0, -1.0)
        for i in range(3)
    ]
    return np.array(ends[:3]), np.array(ends[3:])
