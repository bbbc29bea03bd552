"""VesselTree: a vessel system as a graph of centreline points with calibre, from its roots outwards.

Every node but a root has one parent, so that a node stands for the piece of vessel that leads to it. Blood is thought
to run along the graph: from the root in a portal or arterial tree, towards it in a venous one. Orders follow Strahler
(1957, Trans Am Geophys Union 38:913), as modified for vessels by counting bends as one branch (Jiang, Kassab & Fung
1994, J Appl Physiol 76:882): a leaf has order 1, and where two or more branches of the highest order k among the
children meet, the parent has order k + 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkObject, vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
from vtkmodules.vtkIOXML import vtkXMLPolyDataReader, vtkXMLPolyDataWriter

from anatomy.errors import AnatomyError
from anatomy.files import whole_or_nothing

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Branch:
    """The piece of a tree between two forks, or between a fork and an end.

    Parameters
    ----------
    nodes : ndarray, shape (k,), int64
        Its nodes outwards; the first is the fork (or root) it leaves from, which belongs to the parent branch.
    length_mm : float
        Along the centreline.
    radius_mm : float
        Mean over its length.
    generation : int
        Number of forks between root and branch.
    strahler : int
        Strahler order; 1 for a branch that ends.
    """

    nodes: Index
    length_mm: float
    radius_mm: float
    generation: int
    strahler: int

    @property
    def calibre_mm(self) -> float:
        """Diameter, mm."""
        return 2.0 * self.radius_mm


@dataclass(frozen=True, eq=False)
class VesselTree:
    """A vessel tree.

    Parameters
    ----------
    points : ndarray, shape (n, 3), float64
        Node positions, LPS mm.
    radius : ndarray, shape (n,), float64
        Radius of the vessel from each node's parent to the node, mm; at a root that of the vessel it begins.
    parent : ndarray, shape (n,), int64
        Row of each node's parent, always smaller than its own; -1 at a root.

    Raises
    ------
    AnatomyError
        If the arrays do not fit together or a parent does not come before its child.
    """

    points: Array
    radius: Array
    parent: Index

    def __post_init__(self) -> None:
        n = len(self.parent)
        if self.points.shape != (n, 3) or self.radius.shape != (n,) or n == 0:
            raise AnatomyError(
                "a vessel tree needs points (n, 3), radius (n,) and parent (n,) of one n above 0"
            )
        if (self.parent >= np.arange(n)).any() or (self.parent < -1).any():
            raise AnatomyError("in a vessel tree every parent comes before its children, and roots have -1")

    # ------------------------------------------------------------------ structure

    @cached_property
    def children_count(self) -> Index:
        """Number of children of each node, shape (n,)."""
        return np.bincount(self.parent[self.parent >= 0], minlength=len(self.parent)).astype(np.int64)

    @property
    def roots(self) -> Index:
        """Rows of the roots."""
        return np.flatnonzero(self.parent < 0)

    @property
    def leaves(self) -> Index:
        """Rows of the ends."""
        return np.flatnonzero((self.children_count == 0) & (self.parent >= 0))

    @property
    def forks(self) -> Index:
        """Rows of the nodes with more than one child, but for roots."""
        return np.flatnonzero((self.children_count > 1) & (self.parent >= 0))

    @property
    def segments(self) -> tuple[Array, Array, Array]:
        """Starts (m, 3), ends (m, 3), radii (m,) of all pieces from parent to node, mm."""
        rows = np.flatnonzero(self.parent >= 0)
        return self.points[self.parent[rows]], self.points[rows], self.radius[rows]

    @cached_property
    def length_to_parent_mm(self) -> Array:
        """Distance of each node from its parent, mm, shape (n,); 0 at roots."""
        up = np.maximum(self.parent, 0)
        length = np.linalg.norm(self.points - self.points[up], axis=1)
        return np.where(self.parent >= 0, length, 0.0)

    @cached_property
    def distance_from_root_mm(self) -> Array:
        """Way along the vessels from the root to each node, mm, shape (n,)."""
        way = self.length_to_parent_mm.copy()
        for row in np.flatnonzero(self.parent >= 0):
            way[row] += way[self.parent[row]]
        return way

    @cached_property
    def generation(self) -> Index:
        """Number of forks between the root and each node, shape (n,)."""
        generation = np.zeros(len(self.parent), dtype=np.int64)
        for row in np.flatnonzero(self.parent >= 0):
            up = self.parent[row]
            # A root where several branches begin is no fork of one vessel.
            forks = self.children_count[up] > 1 and self.parent[up] >= 0
            generation[row] = generation[up] + forks
        return generation

    @cached_property
    def strahler(self) -> Index:
        """Strahler order of each node, shape (n,)."""
        highest = np.zeros(len(self.parent), dtype=np.int64)
        times = np.zeros(len(self.parent), dtype=np.int64)
        order = np.ones(len(self.parent), dtype=np.int64)
        for row in range(len(self.parent) - 1, -1, -1):
            if times[row]:
                order[row] = highest[row] + (times[row] > 1)
            up = self.parent[row]
            if up >= 0:
                if order[row] > highest[up]:
                    highest[up], times[up] = order[row], 1
                elif order[row] == highest[up]:
                    times[up] += 1
        return order

    @cached_property
    def volume_ml(self) -> float:
        """Blood volume: the pieces as cylinders, ml."""
        return float(np.pi * (self.radius**2 * self.length_to_parent_mm).sum() / 1000.0)

    @cached_property
    def branch_of_node(self) -> Index:
        """Row in `branches` of each node, shape (n,); -1 at roots."""
        branch = np.full(len(self.parent), -1, dtype=np.int64)
        count = 0
        for row in np.flatnonzero(self.parent >= 0):
            up = self.parent[row]
            if self.parent[up] < 0 or self.children_count[up] > 1:
                branch[row], count = count, count + 1
            else:
                branch[row] = branch[up]
        return branch

    @cached_property
    def branches(self) -> list[Branch]:
        """Every branch, parents before their children."""
        of = self.branch_of_node
        found = []
        for number in range(int(of.max()) + 1):
            rows = np.flatnonzero(of == number)
            length = self.length_to_parent_mm[rows]
            radius = float((self.radius[rows] * length).sum() / max(length.sum(), 1e-12))
            nodes = np.concatenate([self.parent[rows[:1]], rows])
            where = int(rows[-1])
            found.append(
                Branch(
                    nodes, float(length.sum()), radius, int(self.generation[where]), int(self.strahler[where])
                )
            )
        return found

    def below(self, node: int) -> Index:
        """Rows of a node and everything that it feeds (or that drains through it), ascending.

        Raises
        ------
        AnatomyError
            If there is no such node.
        """
        if not 0 <= node < len(self.parent):
            raise AnatomyError(f"the vessel tree has nodes 0 to {len(self.parent) - 1}, not {node}")
        inside = np.zeros(len(self.parent), dtype=bool)
        inside[node] = True
        for row in range(node + 1, len(self.parent)):
            up = self.parent[row]
            inside[row] = up >= 0 and inside[up]
        return np.flatnonzero(inside)

    def gathered(self, values: Array) -> Array:
        """Sum of a value over each node and everything below it, shape (n,)."""
        total = np.array(values, dtype=np.float64)
        for row in range(len(total) - 1, -1, -1):
            if self.parent[row] >= 0:
                total[self.parent[row]] += total[row]
        return total

    def nearest(self, point_mm: ArrayLike) -> tuple[int, float]:
        """Node nearest to a point (LPS mm), and how far it is, mm."""
        distance, row = cKDTree(self.points).query(np.asarray(point_mm, dtype=np.float64))
        return int(row), float(distance)

    # ------------------------------------------------------------------ other trees from this one

    def keep(self, rows: Iterable[int] | Index) -> VesselTree:
        """The tree of some of the nodes; one whose parent is left out becomes a root."""
        chosen = np.unique(np.asarray(list(rows), dtype=np.int64))
        new = np.full(len(self.parent), -1, dtype=np.int64)
        new[chosen] = np.arange(len(chosen))
        up = self.parent[chosen]
        parent = np.where(up >= 0, new[np.maximum(up, 0)], -1)
        return VesselTree(self.points[chosen], self.radius[chosen], parent)

    # ------------------------------------------------------------------ files

    def write(self, path: str | Path) -> None:
        """Write as VTK polydata (.vtp): a line from every parent to its child, with radius, parent and orders.

        Raises
        ------
        AnatomyError
            If the file cannot be written whole.
        """
        data = vtkPolyData()
        points = vtkPoints()
        points.SetData(numpy_to_vtk(self.points, deep=True))
        data.SetPoints(points)
        rows = np.flatnonzero(self.parent >= 0)
        cells = vtkCellArray()
        ends = np.stack([self.parent[rows], rows], axis=1).ravel()
        starts = 2 * np.arange(len(rows) + 1)
        cells.SetData(numpy_to_vtkIdTypeArray(starts, deep=True), numpy_to_vtkIdTypeArray(ends, deep=True))
        data.SetLines(cells)
        for name in ("radius", "parent", "generation", "strahler"):
            array = numpy_to_vtk(np.ascontiguousarray(getattr(self, name)), deep=True)
            array.SetName("radius_mm" if name == "radius" else name)
            data.GetPointData().AddArray(array)
        with whole_or_nothing(Path(path)) as temporary:
            writer = vtkXMLPolyDataWriter()
            writer.SetFileName(str(temporary))
            writer.SetInputData(data)
            if not writer.Write():
                raise AnatomyError(f"the vessel tree cannot be written to {path}: is the disk full?")

    @classmethod
    def read(cls, path: str | Path) -> VesselTree:
        """Read what `write` wrote.

        Raises
        ------
        AnatomyError
            If nothing is there or the file holds no vessel tree.
        """
        if not Path(path).is_file():
            raise AnatomyError(f"there is no vessel tree {path}")
        vtkObject.GlobalWarningDisplayOff()
        try:
            reader = vtkXMLPolyDataReader()
            reader.SetFileName(str(path))
            reader.Update()
            data = reader.GetOutput()
            arrays = [data.GetPointData().GetArray(name) for name in ("radius_mm", "parent")]
        finally:
            vtkObject.GlobalWarningDisplayOn()
        if data.GetNumberOfPoints() == 0 or any(array is None for array in arrays):
            raise AnatomyError(f"{path} holds no vessel tree (.vtp with radius_mm and parent)")
        points = vtk_to_numpy(data.GetPoints().GetData()).astype(np.float64)
        return cls(
            points, vtk_to_numpy(arrays[0]).astype(np.float64), vtk_to_numpy(arrays[1]).astype(np.int64)
        )
