"""Diffusion of a scalar through an organ on its linear tetrahedra: what heat and growth have in common.

Linear shape functions have constant gradients, so the stiffness ∫ k grad φi·grad φj dX of a cell is k V gi·gj, and all
that is stored at vertices is lumped: a quarter of each cell's volume goes to each of its corners (Zienkiewicz, Taylor &
Zhu 2013, The Finite Element Method, § 16.2). Lumping keeps an implicit step from overshooting on well-shaped meshes
(Thomée 2006, Galerkin Finite Element Methods for Parabolic Problems, ch. 15).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags_array
from scipy.sparse.linalg import cg

from anatomy.mesh import OrganMesh
from solver.body import tet_volumes
from solver.errors import SolverError

Array = NDArray[np.float64]
Index = NDArray[np.int64]

TOLERANCE = 1e-10


class Diffusion:
    """Linear tetrahedra of an organ, as diffusion sees them.

    Parameters
    ----------
    organ : OrganMesh
        n vertices, m tetrahedra, mm.

    Attributes
    ----------
    volumes : ndarray, shape (m,)
        Of each tetrahedron, mm³.
    """

    def __init__(self, organ: OrganMesh) -> None:
        self.organ = organ
        signed = tet_volumes(organ.points, organ.tets)
        if not (np.abs(signed) > 0).all():
            raise SolverError(
                f"{int((signed == 0).sum())} tetrahedra of the organ are flat; mesh the organ anew."
            )
        self.volumes = np.abs(signed)
        a, b, c, d = (organ.points[organ.tets[:, i]] for i in range(4))
        faces = [
            np.cross(d - b, c - b),
            np.cross(c - a, d - a),
            np.cross(d - a, b - a),
            np.cross(b - a, c - a),
        ]
        self._gradients = np.stack(faces, axis=1) / (6 * signed[:, None, None])

    def at_vertices(self, density: Array) -> Array:
        """Integral of a cell-wise density, shape (m,), over the volume of each vertex, shape (n,)."""
        share = np.repeat(density * self.volumes / 4, 4)
        return np.bincount(self.organ.tets.ravel(), share, len(self.organ.points))

    def stiffness(self, conductivity: Array) -> csr_matrix:
        """∫ k grad φi·grad φj dX for a cell-wise k, shape (m,), as an n × n matrix."""
        tets, n = self.organ.tets, len(self.organ.points)
        local = np.einsum("m,mid,mjd->mij", conductivity * self.volumes, self._gradients, self._gradients)
        rows, columns = np.repeat(tets, 4, axis=1), np.tile(tets, (1, 4))
        return csr_matrix((local.ravel(), (rows.ravel(), columns.ravel())), shape=(n, n))

    def by_structure(self, values: dict[str, float]) -> Array:
        """Cell-wise values, shape (m,), from one a structure; zero where a structure has none."""
        table = np.zeros(256)
        for label, name in self.organ.structures.items():
            table[label] = values.get(name, 0.0)
        return table[self.organ.region]

    def vertices_of(self, structures: set[str]) -> Index:
        """Vertices of the tetrahedra of some structures, shape (k,)."""
        labels = [label for label, name in self.organ.structures.items() if name in structures]
        return np.unique(self.organ.tets[np.isin(self.organ.region, labels)])


def implicit_solve(matrix: csr_matrix, load: Array, start: Array, held: Index) -> Array:
    """Solution of a symmetric positive definite system whose `held` unknowns keep the values of `start`.

    Conjugate gradients preconditioned by the diagonal: the matrices of diffusion steps are well conditioned.

    Raises
    ------
    SolverError
        If the iteration does not converge.
    """
    free = np.setdiff1d(np.arange(len(load)), held)
    x = start.copy()
    inside = matrix[free]
    rest = load[free] - inside[:, held] @ start[held]
    square: Any = inside[:, free]
    scale = diags_array(1 / square.diagonal())
    x[free], failed = cg(square, rest, x0=start[free], rtol=TOLERANCE, atol=0.0, M=scale, maxiter=2000)
    if failed or not np.isfinite(x).all():
        raise SolverError("The diffusion step did not converge; take a shorter time step.")
    return x
