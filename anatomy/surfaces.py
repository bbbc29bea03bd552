"""Surfaces for showing: one closed, smooth surface per structure, finer than the mechanical mesh.

A structure's voxels are first made well-composed (Latecki, Eckhardt & Rosenfeld 1995): where two of them touch
only along an edge or in a corner, a voxel between them is filled, for only then is the surface between voxels a
2-manifold. SurfaceNets (Gibson 1998) gives that surface with well-shaped triangles; a windowed-sinc filter
(Taubin, Zhang & Golub 1996) takes the voxel stairs away in patient space, where slices may be thick. What it moved
inwards on the average of a neighbourhood, as it does on thin branches, is given back along the normals; last the
whole surface moves until it encloses the volume of the structure's voxels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, diags_array
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkImageData, vtkPolyData
from vtkmodules.vtkFiltersCore import (
    vtkDecimatePro,
    vtkStaticCleanPolyData,
    vtkSurfaceNets3D,
    vtkWindowedSincPolyDataFilter,
)
from vtkmodules.vtkIOXML import vtkXMLPolyDataReader, vtkXMLPolyDataWriter

from anatomy.errors import AnatomyError
from anatomy.files import whole_or_nothing
from anatomy.labels import LabelMap
from anatomy.manifold import pinched_edges, pinched_vertices
from anatomy.mesh import quiet_vtk

# Pass band of the windowed-sinc filter (0 smoothest, 2 none) at smoothing 0 and at smoothing 1, in log scale.
_PASS_BAND = (0.5, 0.008)
_SINC_ITERATIONS = 40
# How often what smoothing took is measured and given back, and over how many rings of vertices it is averaged.
_RESTORATIONS, _RINGS = 3, 24


@dataclass(frozen=True, eq=False)
class Surface:
    """A closed triangulated surface.

    Attributes
    ----------
    points : ndarray, shape (k, 3), float64
        Vertices, mm LPS.
    triangles : ndarray, shape (t, 3), int64
        Vertex indices, wound so that normals point out of the structure.
    """

    points: NDArray[np.float64]
    triangles: NDArray[np.int64]

    @property
    def volume_ml(self) -> float:
        """Enclosed volume, ml."""
        return _enclosed(self.points, self.triangles) / 1000.0

    def write(self, path: str | Path) -> None:
        """Write the surface as VTK XML (.vtp); the file appears whole or not at all.

        Raises
        ------
        AnatomyError
            If the file cannot be written.
        """
        path = Path(path)
        with whole_or_nothing(path) as temporary, quiet_vtk():
            writer = vtkXMLPolyDataWriter()
            writer.SetFileName(str(temporary))
            writer.SetInputData(_to_polydata(self.points, self.triangles))
            writer.SetDataModeToAppended()
            writer.EncodeAppendedDataOff()
            writer.SetCompressorTypeToZLib()
            if not writer.Write() or writer.GetErrorCode():
                raise AnatomyError(
                    f"The surface could not be written to {path}: the disk is full, or the folder is not yours."
                )

    @classmethod
    def read(cls, path: str | Path) -> Surface:
        """Read a surface written by `write`.

        Raises
        ------
        AnatomyError
            If the file is missing or damaged.
        """
        reader = vtkXMLPolyDataReader()
        reader.SetFileName(str(path))
        with quiet_vtk():
            reader.Update()
        if reader.GetErrorCode() or not reader.GetOutput().GetNumberOfPolys():
            raise AnatomyError(f"{path} is no readable surface (missing, damaged or empty); write it anew.")
        return cls(*_from_polydata(reader.GetOutput()))


def show_surface(
    labels: LabelMap, structure: str, smoothing: float = 0.5, target_triangles: int | None = None
) -> Surface:
    """The surface of one structure, for showing.

    Parameters
    ----------
    labels : LabelMap
        The label map; its image may lie obliquely or be stored flipped.
    structure : str
        Name of the structure.
    smoothing : float
        0 keeps the voxels' shape nearly as it is, 1 is smoothest.
    target_triangles : int, optional
        Thin the surface out to about so many triangles, as far as its topology allows.

    Returns
    -------
    Surface
        Closed 2-manifold that encloses the volume of the structure's voxels.

    Raises
    ------
    AnatomyError
        If the map lacks the structure, or a knob makes no sense.
    """
    if not 0 <= smoothing <= 1:
        raise AnatomyError(f"smoothing runs from 0 to 1, not {smoothing}")
    if target_triangles is not None and target_triangles < 100:
        raise AnatomyError(f"{target_triangles} triangles are too few for a surface: give at least 100")
    mask = labels.mask(structure).transpose(2, 1, 0)
    span = [np.flatnonzero(mask.any(axis=tuple(k for k in range(3) if k != axis))) for axis in range(3)]
    first = np.array([s[0] for s in span])
    mask = np.pad(mask[tuple(slice(s[0], s[-1] + 1) for s in span)], 2)
    index, triangles = _surface_nets(_well_composed(mask))
    axes = np.array(labels.image.GetDirection()).reshape(3, 3) * np.array(labels.image.GetSpacing())
    points = (index + first - 2) @ axes.T + np.array(labels.image.GetOrigin())
    if _enclosed(points, triangles) < 0:
        triangles = triangles[:, ::-1].copy()
    wanted_mm3 = labels.volumes_ml[labels.names[labels.value(structure)]] * 1000.0
    if smoothing > 0:
        points = _restored(_smooth(points, triangles, smoothing), points, triangles)
    points = _at_volume(points, triangles, wanted_mm3)
    if target_triangles is not None and target_triangles < len(triangles):
        points, triangles = _thinned(points, triangles, 1.0 - target_triangles / len(triangles))
        points = _at_volume(points, triangles, wanted_mm3)
    return Surface(points, triangles)


def _well_composed(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill voxels until no two touch only along an edge or in a corner."""
    mask = mask.copy()
    while True:
        fill = np.zeros_like(mask)
        for axis in range(3):
            _mark_diagonals(mask, fill, [a for a in range(3) if a != axis])
        if not fill.any():
            _mark_corners(mask, fill)
        if not fill.any():
            return mask
        mask |= fill


def _mark_diagonals(mask: NDArray[np.bool_], fill: NDArray[np.bool_], plane: list[int]) -> None:
    """Mark one voxel of each 2×2 square of the plane whose diagonals differ."""

    def part(array: NDArray[np.bool_], u: int, v: int) -> NDArray[np.bool_]:
        where = [slice(None)] * 3
        where[plane[0]] = slice(u, array.shape[plane[0]] - 1 + u)
        where[plane[1]] = slice(v, array.shape[plane[1]] - 1 + v)
        return array[tuple(where)]

    a, b, c, d = (part(mask, u, v) for u, v in ((0, 0), (1, 1), (0, 1), (1, 0)))
    part(fill, 0, 1)[...] |= a & b & ~c & ~d
    part(fill, 0, 0)[...] |= c & d & ~a & ~b


def _mark_corners(mask: NDArray[np.bool_], fill: NDArray[np.bool_]) -> None:
    """Mark a voxel of each 2×2×2 block in which a single pair of opposite corners is set, or unset."""
    size = mask.shape
    corners = [(u, v, w) for u in (0, 1) for v in (0, 1) for w in (0, 1)]
    part = {c: tuple(slice(k, n - 1 + k) for k, n in zip(c, size, strict=True)) for c in corners}
    total = np.sum([mask[part[c]] for c in corners], axis=0)
    for c in corners[:4]:
        opposite = (1 - c[0], 1 - c[1], 1 - c[2])
        step = (1 - c[0], c[1], c[2])
        fill[part[step]] |= (total == 2) & mask[part[c]] & mask[part[opposite]]
        fill[part[c]] |= (total == 6) & ~mask[part[c]] & ~mask[part[opposite]]


def _surface_nets(mask: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Unsmoothed surface of a mask (x, y, z): points (k, 3) in voxels, triangles (t, 3)."""
    image = vtkImageData()
    image.SetDimensions(*mask.shape)
    image.GetPointData().SetScalars(numpy_to_vtk(mask.astype(np.uint8).ravel(order="F"), deep=True))
    nets = vtkSurfaceNets3D()
    nets.SetInputData(image)
    nets.SetValue(0, 1)
    nets.SmoothingOff()
    nets.SetOutputMeshTypeToTriangles()
    # VTK 9.7 leaves coincident points on the seams between its threads' slabs: merge before anything moves.
    clean = vtkStaticCleanPolyData()
    clean.SetInputConnection(nets.GetOutputPort())
    clean.SetTolerance(0.0)
    clean.Update()
    points, triangles = _from_polydata(clean.GetOutput())
    return points, triangles


def _from_polydata(data: vtkPolyData) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    points = vtk_to_numpy(data.GetPoints().GetData()).astype(np.float64)
    return points, vtk_to_numpy(data.GetPolys().GetConnectivityArray()).reshape(-1, 3).astype(np.int64)


def _to_polydata(points: NDArray[np.float64], triangles: NDArray[np.int64]) -> vtkPolyData:
    data = vtkPolyData()
    vertices = vtkPoints()
    vertices.SetData(numpy_to_vtk(points, deep=True))
    data.SetPoints(vertices)
    cells = vtkCellArray()
    offsets = np.arange(0, 3 * len(triangles) + 1, 3, dtype=np.int64)
    flat = np.ascontiguousarray(triangles.reshape(-1))
    cells.SetData(numpy_to_vtkIdTypeArray(offsets, deep=True), numpy_to_vtkIdTypeArray(flat, deep=True))
    data.SetPolys(cells)
    return data


def _smooth(
    points: NDArray[np.float64], triangles: NDArray[np.int64], smoothing: float
) -> NDArray[np.float64]:
    if smoothing == 0:
        return points
    sinc = vtkWindowedSincPolyDataFilter()
    sinc.SetInputData(_to_polydata(points, triangles))
    sinc.SetNumberOfIterations(_SINC_ITERATIONS)
    sinc.SetPassBand(_PASS_BAND[0] * (_PASS_BAND[1] / _PASS_BAND[0]) ** smoothing)
    sinc.NormalizeCoordinatesOn()
    sinc.FeatureEdgeSmoothingOff()
    sinc.BoundarySmoothingOff()
    sinc.NonManifoldSmoothingOff()
    sinc.Update()
    return _from_polydata(sinc.GetOutput())[0]


def _restored(
    points: NDArray[np.float64], rough: NDArray[np.float64], triangles: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Smoothed points given back what the smoothing took from the rough ones on the average of a neighbourhood."""
    ends = triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    count = len(points)
    joined = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count)).tocsr()
    joined = joined + joined.T
    mean = diags_array(1.0 / np.asarray(joined.sum(axis=1)).ravel()) @ joined
    for _ in range(_RESTORATIONS):
        normal = _vertex_normals(points, triangles)
        lost = np.einsum("ij,ij->i", rough - points, normal)
        for _ in range(_RINGS):
            lost = 0.5 * (lost + mean @ lost)
        points = points + lost[:, None] * normal
    return points


def _vertex_normals(points: NDArray[np.float64], triangles: NDArray[np.int64]) -> NDArray[np.float64]:
    """Unit normals (n, 3) at the vertices, by the area of the triangles around them."""
    a, b, c = (points[triangles[:, i]] for i in range(3))
    facet = np.repeat(np.cross(b - a, c - a), 3, axis=0)
    normal = np.stack([np.bincount(triangles.ravel(), facet[:, k], len(points)) for k in range(3)], axis=1)
    return np.asarray(normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12))


def _thinned(
    points: NDArray[np.float64], triangles: NDArray[np.int64], reduction: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The surface with that share of its triangles less, closed as before."""
    thin = vtkDecimatePro()
    thin.SetInputData(_to_polydata(points, triangles))
    thin.SetTargetReduction(reduction)
    thin.PreserveTopologyOn()
    thin.SplittingOff()
    thin.Update()
    points, triangles = _from_polydata(thin.GetOutput())
    # It may still join two vertices by a second edge, in which then four triangles meet.
    for u, v in pinched_edges(triangles).tolist():
        points, triangles = _doubled_edge(points, triangles, u, v)
    used, triangles = np.unique(triangles, return_inverse=True)
    return points[used], triangles.reshape(-1, 3)


def _doubled_edge(
    points: NDArray[np.float64], triangles: NDArray[np.int64], u: int, v: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The surface in which two of the four triangles at an edge meet in a new vertex in its middle instead."""
    around = np.flatnonzero((triangles == u).any(axis=1) & (triangles == v).any(axis=1))
    after_u = np.roll(triangles[around], -1, axis=1)[triangles[around] == u]
    forward, backward = around[after_u == v], around[after_u != v]
    middle = len(points)
    best, least = triangles, np.inf
    for partner in backward:
        pair = np.array([forward[0], partner])
        halves = [np.where(triangles[pair] == end, middle, triangles[pair]) for end in (u, v)]
        split = np.concatenate([np.delete(triangles, pair, axis=0), *halves])
        pinched = len(pinched_edges(split)) + len(pinched_vertices(split))
        if pinched < least:
            best, least = split, pinched
    return np.concatenate([points, 0.5 * (points[[u]] + points[[v]])]), best


def _enclosed(points: NDArray[np.float64], triangles: NDArray[np.int64]) -> float:
    """Volume inside a closed surface, mm³; negative when its normals point inwards."""
    a, b, c = (points[triangles[:, i]] - points.mean(axis=0) for i in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6.0)


def _at_volume(
    points: NDArray[np.float64], triangles: NDArray[np.int64], wanted_mm3: float
) -> NDArray[np.float64]:
    """Points moved along the vertex normals until the surface encloses a volume (Newton, d = ΔV / area)."""
    for _ in range(3):
        a, b, c = (points[triangles[:, i]] for i in range(3))
        area = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()
        normal = _vertex_normals(points, triangles)
        points = points + (wanted_mm3 - _enclosed(points, triangles)) / area * normal
    return points
