"""What holds a body: whether every connected piece of it is kept from moving as a whole.

Attachments, prescribed displacements and loads that hold (ligaments, contact) each put a stiffness against the six
rigid-body modes of a piece (`solver.rigid_modes`). A mode that nothing stiffens has no equilibrium, so the solvers ask
here first and name the piece and the motion instead of failing to converge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from solver.errors import SolverError
from solver.rigid_modes import free_modes, rigid_modes

if TYPE_CHECKING:
    from solver.attachments import Attachment
    from solver.body import Body

Array = NDArray[np.float64]
Index = NDArray[np.int64]


def connected_pieces(tets: Index, count: int) -> Index:
    """Number of the connected piece of each of `count` vertices, shape (count,), by tetrahedra, shape (m, 4)."""
    rows, columns = tets[:, [0, 0, 0]].ravel(), tets[:, 1:].ravel()
    graph = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def check_supported(
    body: Body, held: ArrayLike = (), components: ArrayLike | None = None, loads: Sequence[Any] = ()
) -> None:
    """Refuse a body of which a piece could move rigidly without resistance.

    Parameters
    ----------
    body : Body
        Looked at in its stress-free shape.
    held : array-like of int
        Vertices whose displacement is prescribed, OrganMesh order, shape (k,).
    components : array-like of bool, shape (k, 3), optional
        Which of their components are; default all.
    loads : sequence of Load
        Those among them that hold the body (ligaments, contact) count as support.

    Raises
    ------
    SolverError
        Names the piece, by the structures in it, and its free rigid-body modes.
    """
    held = np.asarray(held, dtype=np.int64)
    holds = np.ones((len(held), 3)) if components is None else np.asarray(components, dtype=np.float64)
    for piece in range(int(body.components.max()) + 1):
        free = _free_modes(body, body.components == piece, held, holds, loads)
        if free:
            region = body.organ.region[body.components[body.organ.tets[:, 0]] == piece]
            names = ", ".join(body.organ.structures[int(v)] for v in np.unique(region))
            raise SolverError(
                f"The piece made of {names} ({len(region)} tetrahedra) is not held against {', '.join(free)}; "
                "attach it, or hold some of its vertices."
            )


def unheld_pieces(body: Body, held: Index) -> Index:
    """Numbers of the connected pieces (`body.components`) that could move rigidly without resistance.

    Parameters
    ----------
    body : Body
    held : ndarray, shape (k,), int64
        Vertices that tools hold. A single one keeps a piece, which may turn around it.
    """
    return np.array(
        [
            piece
            for piece in range(int(body.components.max()) + 1)
            if not (body.components[held] == piece).any()
            and _free_modes(body, body.components == piece, held[:0], np.zeros((0, 3)), ())
        ],
        dtype=np.int64,
    )


def _free_modes(
    body: Body, mine: NDArray[np.bool_], held: Index, holds: Array, loads: Sequence[Any]
) -> list[str]:
    """Names of the rigid-body modes of a piece, given by its vertices, that nothing resists."""
    points = body.reference_points
    centre = points[mine].mean(axis=0)
    size = float(np.ptp(points[mine], axis=0).max())
    offset = (points - centre) / size
    stiffness = np.zeros((6, 6))
    for attachment in body.attachments:
        if not attachment.released:
            facets = attachment.facets[mine[attachment.facets[:, 0]]]
            stiffness += _against(attachment, points[facets], offset[facets])
    for load in loads:
        if hasattr(load, "support"):
            vertices, springs = load.support(body)
            own = mine[vertices]
            modes = rigid_modes(offset[vertices[own]])
            stiffness += np.einsum("fia,fij,fjb->ab", modes, springs[own], modes)
    inside = mine[held]
    modes = holds[inside][:, :, None] * rigid_modes(offset[held[inside]])
    stiffness += max(1.0, float(np.trace(stiffness))) * np.einsum("fij,fik->jk", modes, modes)
    return free_modes(stiffness, centre, size)


def _against(attachment: Attachment, corners: Array, offset: Array) -> Array:
    """Stiffness of an attachment against the six modes, by its triangles' corners and offsets, shape (f, 3, 3)."""
    x, y, z = corners.transpose(1, 0, 2)
    cross = np.cross(y - x, z - x)
    twice = np.linalg.norm(cross, axis=1)
    normal = cross / twice[:, None]
    excess = attachment.normal_kPa_mm - attachment.tangential_kPa_mm
    stiffness = np.zeros((6, 6))
    for corner in offset.transpose(1, 0, 2):
        modes = rigid_modes(corner)
        along = np.einsum("fij,fi->fj", modes, normal)
        stiffness += np.einsum("f,fij,fik->jk", twice / 6 * attachment.tangential_kPa_mm, modes, modes)
        stiffness += np.einsum("f,fj,fk->jk", twice / 6 * excess, along, along)
    return stiffness
