"""Skin: one fine, shown surface carried by the coarse mechanical mesh.

A shown surface has far more vertices than the organ mesh has. Each of them sits at barycentric weights W in a
tetrahedron, so when the mesh moves by u the surface moves by W u, and its rest shape stays exactly the one that
was segmented. Frames arrive many times a second: positions and normals are written in place into the arrays that
VTK draws, and nothing is allocated or copied. Normals are recomputed with every move, because VTK would go on
shading with those of the old shape.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
import pyvista as pv
from numpy.typing import NDArray
from scipy.sparse import csr_array
from vtkmodules.util.numpy_support import numpy_to_vtk

from viewer.drawing import moved, shared_mesh


class Skin:
    """A shown surface that follows the organ mesh.

    Parameters
    ----------
    name : str
        Structure the surface belongs to.
    points : ndarray, shape (k, 3), float
        Rest positions, mm, LPS.
    triangles : ndarray, shape (t, 3), int
        Vertex indices, normals outward.
    weights : scipy.sparse.csr_array, shape (k, n), optional
        Barycentric weights of the surface's points in the organ mesh (`Embedding.matrix`); without them the
        surface stands still.

    Attributes
    ----------
    mesh : pyvista.PolyData
        What is drawn; its points and normals share memory with `points` and `normals`.
    points, normals : ndarray, shape (k, 3), float32
        Present positions (mm, LPS) and outward unit normals.
    version : int
        Counts the moves, so that a locator knows when it is out of date.
    """

    def __init__(
        self,
        name: str,
        points: NDArray[np.float64],
        triangles: NDArray[np.int64],
        weights: csr_array | None = None,
    ) -> None:
        self.name = name
        self.rest = np.ascontiguousarray(points, dtype=np.float32)
        self.points = self.rest.copy()
        self.normals = np.empty_like(self.points)
        self.triangles = np.ascontiguousarray(triangles, dtype=np.int64)
        self.version = 0
        self._rows = None
        if weights is not None:
            self._rows = (weights.indptr, weights.indices, weights.data.astype(np.float32))
        self.mesh = self._drawable()

    def _drawable(self) -> pv.PolyData:
        mesh = shared_mesh(self.points, self.triangles)
        vertex_normals(self.points, self.triangles, self.normals)
        normals = numpy_to_vtk(self.normals, deep=False)
        normals.SetName("Normals")
        mesh.GetPointData().SetNormals(normals)
        return mesh

    @property
    def carried(self) -> bool:
        """Whether the surface follows the organ mesh."""
        return self._rows is not None

    def move(self, displacement: NDArray[np.float32]) -> None:
        """Put the surface where the mesh has gone.

        Parameters
        ----------
        displacement : ndarray, shape (n, 3), float32
            Displacement of every vertex of the organ mesh from the scanned shape, mm.
        """
        if self._rows is None:
            return
        carry(*self._rows, self.rest, displacement, self.points)
        vertex_normals(self.points, self.triangles, self.normals)
        self.version += 1
        moved(self.mesh)

    def tint(
        self,
        colour: NDArray[np.float64],
        shares: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    ) -> None:
        """Give every point the surface's colour mixed with others by what is known of the organ's vertices.

        Parameters
        ----------
        colour : ndarray, shape (3,)
            Of the surface, each channel 0 to 1.
        shares : sequence of (ndarray, shape (n,); ndarray, shape (3,))
            Share of another colour at the organ's vertices, 0 to 1, and that colour; the last one covers the others.
        """
        if self._rows is None:
            return
        mixed = np.tile(np.asarray(colour, dtype=np.float64), (len(self.points), 1))
        indptr, indices, data = self._rows
        for values, other in shares:
            weights = csr_array((data, indices, indptr), shape=(len(self.points), len(values)))
            share = np.clip(weights @ values, 0.0, 1.0)[:, None]
            mixed += share * (other - mixed)
        shade = np.round(255.0 * mixed).astype(np.uint8)
        if "shade" in self.mesh.point_data:
            self.mesh.point_data["shade"][:] = shade
            self.mesh.GetPointData().GetArray("shade").Modified()
        else:
            self.mesh.point_data["shade"] = shade
        self.mesh.GetPointData().SetActiveScalars("shade")

    def rest_of(self, triangle: int, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scanned position (3,) in mm of the point at barycentric `weights` (3,) in one triangle."""
        return np.asarray(weights @ self.rest[self.triangles[triangle]], dtype=np.float64)


@numba.njit(cache=True, nogil=True)
def carry(indptr, indices, weights, rest, displacement, out):  # type: ignore[no-untyped-def]
    """Write rest + W u into `out` (k, 3), with W as compressed sparse rows."""
    for i in range(rest.shape[0]):
        x, y, z = rest[i, 0], rest[i, 1], rest[i, 2]
        for j in range(indptr[i], indptr[i + 1]):
            w, v = weights[j], indices[j]
            x += w * displacement[v, 0]
            y += w * displacement[v, 1]
            z += w * displacement[v, 2]
        out[i, 0], out[i, 1], out[i, 2] = x, y, z


@numba.njit(cache=True, nogil=True)
def vertex_normals(points, triangles, out):  # type: ignore[no-untyped-def]
    """Write outward unit normals into `out` (k, 3): the area-weighted mean of the triangles around each vertex."""
    out[:] = 0.0
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
        vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for vertex in (a, b, c):
            out[vertex, 0] += nx
            out[vertex, 1] += ny
            out[vertex, 2] += nz
    for i in range(out.shape[0]):
        length = np.sqrt(out[i, 0] ** 2 + out[i, 1] ** 2 + out[i, 2] ** 2)
        if length > 0.0:
            out[i, 0] /= length
            out[i, 1] /= length
            out[i, 2] /= length
