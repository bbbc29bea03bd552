"""Coupling: the tissue's answer together with stiff loads on few vertices, which the factored tangent does not know.

A tool that touches, or a suture, joins some vertices by a stiffness K that changes with every iteration and may be a
thousand times that of the tissue. With A the tangent, E the unit vectors of those vertices and W = A⁻¹E, the tissue
with the load answers a force r by

    y − W (I + K S)⁻¹ K Eᵀy,   y = A⁻¹r,   S = EᵀW

(Woodbury's formula; Hager 1989, SIAM Rev 31:221), which needs no new factor and holds for any symmetric K. The columns
of W are worked out once for each vertex and kept until the tangent or what is held changes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from solver.response import Response

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

# Columns are kept for at most this many vertices.
MOST_KEPT = 600


class Influence:
    """Answers of the held tissue to unit forces at single vertices, each worked out once.

    Parameters
    ----------
    response : Response
    """

    def __init__(self, response: Response) -> None:
        self.response = response
        self._row: dict[int, int] = {}
        self._columns = np.zeros((0, 3 * response.vertices))

    def columns(self, vertices: Ints) -> Array:
        """Displacements under unit forces along x, y, z of each vertex, shape (3 k, 3 n), mm/mN."""
        missing = [int(v) for v in vertices if int(v) not in self._row]
        if missing and len(self._row) + len(missing) > MOST_KEPT:
            self._row.clear()
            missing = [int(v) for v in vertices]
        if missing:
            self._make_room(3 * (len(self._row) + len(missing)))
            for vertex in missing:
                # One vertex at a time, so that a column does not depend on which others were wanted with it.
                row = 3 * len(self._row)
                self._columns[row : row + 3] = self.response.to_unit_forces(vertex)
                self._row[vertex] = row
        rows = np.array([self._row[int(v)] for v in vertices], dtype=np.int64)
        return self._columns[(rows[:, None] + np.arange(3)).ravel()]

    def _make_room(self, rows: int) -> None:
        if rows > len(self._columns):
            larger = np.zeros((max(rows, 2 * len(self._columns)), self._columns.shape[1]))
            larger[: len(self._columns)] = self._columns
            self._columns = larger


class Coupling:
    """The answer of the tissue with a stiffness that joins some vertices.

    Parameters
    ----------
    influence : Influence
    vertices : ndarray, shape (k,), int64
    stiffness : ndarray, shape (3 k, 3 k)
        Symmetric, mN/mm.
    """

    def __init__(self, influence: Influence, vertices: Ints, stiffness: Array) -> None:
        self._response = influence.response
        self._joined = (3 * vertices[:, None] + np.arange(3)).ravel()
        self._columns = influence.columns(vertices)
        compliance = self._columns[:, self._joined]
        compliance = 0.5 * (compliance + compliance.T)
        size = len(self._joined)
        self._weights = np.linalg.solve(np.eye(size) + stiffness @ compliance, stiffness)

    def to_force(self, force: Array) -> Array:
        """Displacement under a force, both shape (n, 3), mm and mN; zero at held vertices."""
        answer = self._response.to_force(force)
        push = self._weights @ answer.reshape(-1)[self._joined]
        answer -= (push @ self._columns).reshape(-1, 3)
        return answer


def together(joined: list[tuple[Ints, Array]]) -> tuple[Ints, Array]:
    """The sum of stiffnesses that each join some vertices, as those of one.

    Parameters
    ----------
    joined : list of (ndarray, shape (k,), ndarray, shape (3 k, 3 k))

    Returns
    -------
    vertices : ndarray, shape (k,), int64
        Ascending.
    stiffness : ndarray, shape (3 k, 3 k)
    """
    vertices = np.unique(np.concatenate([own for own, _ in joined]))
    stiffness = np.zeros((3 * len(vertices), 3 * len(vertices)))
    for own, matrix in joined:
        place = (3 * np.searchsorted(vertices, own)[:, None] + np.arange(3)).ravel()
        stiffness[np.ix_(place, place)] += matrix
    return vertices, stiffness
