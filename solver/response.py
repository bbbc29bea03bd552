"""Response: how the tissue answers forces and moved patches, by one factored tangent.

With A the factored tangent of the free body, E the unit vectors of the held displacements and S = EᵀA⁻¹E (the
capacitance matrix; Hager 1989, SIAM Rev 31:221), the held body answers a force r by A⁻¹(r − E S⁻¹ EᵀA⁻¹r), and a
rigid shift T of a patch by A⁻¹E S⁻¹ T. One factor therefore serves whatever the tools hold: to grasp costs one path of
the elimination tree (`solver.factor.Held`) and three back-solves, to release nothing.
"""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from solver.factor import Factor

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

# Columns are kept for at most this many vertices.
MOST_KEPT = 600


class Response:
    """Linear answer of a body of which some vertices are held.

    Parameters
    ----------
    factor : Factor
        Of the tangent with the pressures, 3 n displacements first.
    vertices : int
        n.
    patches : mapping of str to ndarray of int64
        Vertices each tool holds; no vertex twice.
    """

    def __init__(self, factor: Factor, vertices: int, patches: dict[str, Ints]) -> None:
        self.factor, self.patches = factor, patches
        self._n = 3 * vertices
        self._right = np.zeros(len(factor.order))
        held = np.concatenate([np.zeros(0, dtype=np.int64), *patches.values()])
        self.held = (3 * held[:, None] + np.arange(3)).ravel()
        self._held = factor.hold(self.held) if len(held) else None
        self._lift: dict[str, Array] = {}
        self._row: dict[int, int] = {}
        self._columns = np.zeros((0, self._n))

    def _lifts(self, tool: str) -> Array:
        """Answers to shifts of a tool's patch by 1 mm along x, y, z, shape (3, 3 n); found when first asked for."""
        if tool not in self._lift:
            assert self._held is not None
            names = list(self.patches)
            first = 3 * sum(len(self.patches[name]) for name in names[: names.index(tool)])
            mine = slice(first, first + 3 * len(self.patches[tool]))
            shift = np.zeros((len(self.held), 3))
            shift[mine] = np.tile(np.eye(3), (len(self.patches[tool]), 1))
            right = np.zeros((3, len(self._right)))
            right[:, self.held] = scipy.linalg.cho_solve(self._held.capacitance, shift).T
            lift = self.factor.solve(right)[:, : self._n]
            lift[:, self.held] = shift.T
            self._lift[tool] = lift
        return self._lift[tool]

    def prepared(self) -> Response:
        """This answer, with all that it finds when first asked for found."""
        for tool, vertices in self.patches.items():
            if len(vertices):
                self._lifts(tool)
        return self

    def to_force(self, force: Array) -> Array:
        """Displacement of the held body under a force.

        Parameters
        ----------
        force : ndarray, shape (n, 3), float64
            mN; what acts on held vertices is ignored.

        Returns
        -------
        ndarray, shape (n, 3), float64
            mm, zero at the held vertices.
        """
        self._right[: self._n] = force.ravel()
        self._right[self.held] = 0.0
        return self.factor.solve(self._right, self._held)[: self._n].reshape(-1, 3)

    def columns(self, vertices: Ints) -> Array:
        """Displacements of the held body under unit forces along x, y, z of each vertex.

        Worked out once for each vertex and kept.

        Parameters
        ----------
        vertices : ndarray, shape (k,), int64

        Returns
        -------
        ndarray, shape (3 k, 3 n), float64
            mm/mN.
        """
        missing = [int(v) for v in vertices if int(v) not in self._row]
        if missing and len(self._row) + len(missing) > MOST_KEPT:
            self._keep([int(v) for v in vertices if int(v) in self._row])
        rows = 3 * (len(self._row) + len(missing))
        if rows > len(self._columns):
            # No more is set aside than will be kept: a column is as long as the mesh is large.
            larger = np.zeros((max(rows, min(2 * len(self._columns), 3 * MOST_KEPT)), self._n))
            larger[: len(self._columns)] = self._columns
            self._columns = larger
        for vertex in missing:
            # One vertex at a time, so that a column does not depend on which others were wanted with it.
            row = 3 * len(self._row)
            self._columns[row : row + 3] = self._to_unit_forces(vertex)
            self._row[vertex] = row
        first = np.array([self._row[int(v)] for v in vertices], dtype=np.int64)
        return self._columns[(first[:, None] + np.arange(3)).ravel()]

    def _keep(self, vertices: list[int]) -> None:
        """Forget the columns of all other vertices."""
        first = np.array([self._row[v] for v in vertices], dtype=np.int64)
        self._columns[: 3 * len(first)] = self._columns[(first[:, None] + np.arange(3)).ravel()]
        self._row = {vertex: 3 * at for at, vertex in enumerate(vertices)}

    def _to_unit_forces(self, vertex: int) -> Array:
        force, found = np.zeros((self._n // 3, 3)), np.zeros((3, self._n))
        for axis in range(3):
            force[vertex] = np.eye(3)[axis]
            found[axis] = self.to_force(force).ravel()
        return found

    def to_shift(self, tool: str, shift_mm: Array) -> Array:
        """Displacement, shape (n, 3), mm, when a tool's patch is shifted and the others are held."""
        return (shift_mm @ self._lifts(tool)).reshape(-1, 3)
