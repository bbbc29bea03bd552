"""Centrelines: from the mask of a vessel system to its tree.

From the root a front runs through the mask, slowly near walls, so that ways of least cost keep to the middle; the
farthest voxel that no branch covers yet becomes the end of the next branch, and its way back is followed until the
tree is met (TEASAR: Sato et al. 2000, Pacific Graphics, p. 281; with the root's single shortest-path tree as in
Bitter et al. 2001, IEEE Trans Vis Comput Graph 7:195). A branch that hardly leaves the vessel it springs from is a spur
of the surface and is left out. The lines are then smoothed along the graph (Taubin 1995, SIGGRAPH, p. 351), and each
piece gets the radius of the cylinder that holds the voxels nearest to it, so that the tree keeps the volume of the
mask. Parts that no root reaches are joined over a small gap or kept as trees of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import cKDTree

from anatomy.errors import AnatomyError
from anatomy.progress import Progress, silent
from anatomy.vessels.calibre import radii
from anatomy.vessels.grid import Array, Grid, Index, cubic, graph, neighbours
from anatomy.vessels.tree import VesselTree

# How much dearer a way along the wall is than one in the middle: cost per length is depth to this power.
_CENTRING = -3.0
# A branch covers what lies within this many radii of it.
_COVER = 1.5
# A way that comes within this share of a radius of a branch has met it.
_CORE = 0.7
# Taubin's two factors: shrink, then a little more back.
_SMOOTH, _UNSMOOTH = 0.5, -0.52


@dataclass(frozen=True)
class CentrelineRules:
    """What counts as a branch.

    Parameters
    ----------
    spur_radii : float
        A branch shorter than this many radii of the vessel at its fork, measured beyond that vessel's wall, is a
        spur.
    spur_mm : float
        Nor is anything shorter than this beyond the wall.
    gap_mm : float
        Parts nearer than this to what is reached are joined to it over the gap.
    least_ml : float
        A part smaller than this that stays apart is left out.
    smoothing : int
        Passes of smoothing.
    """

    spur_radii: float = 1.0
    spur_mm: float = 2.0
    gap_mm: float = 4.0
    least_ml: float = 0.05
    smoothing: int = 12

    def __post_init__(self) -> None:
        for name in ("spur_radii", "spur_mm", "gap_mm", "least_ml", "smoothing"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise AnatomyError(f"{name} is {value}; give zero or a positive number")


def centreline(
    label: sitk.Image,
    root_mm: ArrayLike | None = None,
    rules: CentrelineRules | None = None,
    edge_mm: float | None = None,
    progress: Progress = silent,
) -> VesselTree:
    """Tree of a vessel system.

    Parameters
    ----------
    label : SimpleITK.Image
        Mask of the vessels (anything but 0), any spacing and direction, LPS mm.
    root_mm : array-like, shape (3,) or (r, 3), optional
        Where the system begins, LPS mm: the mask's voxel nearest to each point becomes a root. A part without one
        begins at its widest end.
    rules : CentrelineRules, optional
    edge_mm : float, optional
        Edge of the cubic voxels it is worked on; as `grid.cubic` chooses it by default.
    progress : Progress

    Returns
    -------
    VesselTree
        Nodes about a voxel and a half apart.

    Raises
    ------
    AnatomyError
        If the mask is empty, or a root lies farther than 20 mm from it.
    """
    rules = rules or CentrelineRules()
    progress("following the vessels", 0.0)
    grid = cubic(label, edge_mm)
    roots = _root_voxels(grid, root_mm)
    tree = _tree(grid, roots, rules, progress)
    ends = _widest_ends(tree, np.reshape([] if root_mm is None else root_mm, (-1, 3)).astype(np.float64))
    if len(ends) > (0 if roots is None else len(roots)):
        tree = _tree(grid, _root_voxels(grid, ends), rules, progress)
    progress("following the vessels", 1.0)
    return tree


def _widest_ends(tree: VesselTree, given: Array) -> Array:
    """Where each part of a tree begins, shape (r, 3): the given roots, and the widest end of a part without one."""
    chosen = {int(tree.nearest(point)[0]): point for point in given}
    part = np.arange(len(tree.parent))
    for row in np.flatnonzero(tree.parent >= 0):
        part[row] = part[tree.parent[row]]
    served = set(part[list(chosen)].tolist())
    ends: dict[int, tuple[float, int]] = {}
    for branch in tree.branches:
        first, last = int(branch.nodes[0]), int(branch.nodes[-1])
        at_end = [last] if branch.strahler == 1 else []
        at_end += [first] if tree.parent[first] < 0 and tree.children_count[first] == 1 else []
        for node in at_end:
            number = int(part[node])
            ends[number] = max(ends.get(number, (0.0, node)), (branch.radius_mm, node))
    points = [tree.points[node] for number, (_, node) in sorted(ends.items()) if number not in served]
    return np.array([*chosen.values(), *points]).reshape(-1, 3)


def _tree(grid: Grid, roots: Index | None, rules: CentrelineRules, progress: Progress) -> VesselTree:
    """Tree from the voxels of its roots; a part without one begins at its widest place."""
    way = _Ways(grid, roots, rules)
    progress("following the vessels", 0.4)
    index, parent = way.branches(progress)
    points = grid.positions(index)
    points, parent = _thinned(points, parent, 1.5 * grid.edge_mm)
    points = _smoothed(points, parent, rules.smoothing)
    tree = _without_spurs(VesselTree(points, radii(points, parent, grid), parent), rules)
    return VesselTree(tree.points, radii(tree.points, tree.parent, grid), tree.parent)


def _without_spurs(tree: VesselTree, rules: CentrelineRules) -> VesselTree:
    """The tree without ends that hardly leave the vessel they spring from, now that its radius is measured."""
    keep = np.ones(len(tree.parent), dtype=bool)
    for branch in tree.branches:
        fork = int(branch.nodes[0])
        if branch.strahler > 1 or tree.parent[fork] < 0:
            continue
        beyond = branch.length_mm - tree.radius[fork]
        if beyond < max(rules.spur_mm, rules.spur_radii * tree.radius[fork]):
            keep[branch.nodes[1:]] = False
    return tree.keep(np.flatnonzero(keep))


def _root_voxels(grid: Grid, root_mm: ArrayLike | None) -> Index | None:
    """Rows, among the mask's voxels, of those nearest to the given points."""
    if root_mm is None:
        return None
    wanted = np.atleast_2d(np.asarray(root_mm, dtype=np.float64))
    if wanted.shape[1:] != (3,) or not np.isfinite(wanted).all():
        raise AnatomyError("a root is a point x, y, z in LPS mm")
    places = np.argwhere(grid.mask)
    distance, row = cKDTree(grid.positions(places)).query(wanted)
    if distance.max() > 20.0:
        raise AnatomyError(
            f"the root lies {distance.max():.0f} mm from the vessels: give a point at the trunk, LPS mm"
        )
    return np.unique(row).astype(np.int64)


class _Ways:
    """Least-cost ways from the roots through a mask, and the branches that they make."""

    def __init__(self, grid: Grid, roots: Index | None, rules: CentrelineRules) -> None:
        self.grid, self.rules = grid, rules
        places, start, end, length = neighbours(grid.mask)
        self.places = places
        self.depth = np.maximum(grid.depth[grid.mask].astype(np.float64), 0.25 * grid.edge_mm)
        start, end, length = self._joined(start, end, length * grid.edge_mm, roots)
        slow = self.depth**_CENTRING
        cost = length * 0.5 * (slow[start] + slow[end])
        size = len(places)
        self.roots = self._all_roots(graph(size, start, end, length), roots)
        self.far = dijkstra(
            graph(size, start, end, length), directed=False, indices=self.roots, min_only=True
        )
        _, before, _ = dijkstra(
            graph(size, start, end, cost), directed=False, indices=self.roots, min_only=True,
            return_predecessors=True,
        )  # fmt: skip
        self.before = before

    def _joined(
        self, start: Index, end: Index, length: Array, roots: Index | None
    ) -> tuple[Index, Index, Array]:
        """Pairs with those added that bridge gaps between parts: the shortest one of each pair of parts in reach."""
        size = len(self.places)
        count, part = connected_components(graph(size, start, end, length), directed=False)
        if count < 2:
            return start, end, length
        # Between the centres of two voxels lies half of each besides the gap.
        reach = self.rules.gap_mm / self.grid.edge_mm + 1.0
        tree = cKDTree(self.places)
        pairs = tree.query_pairs(reach, output_type="ndarray")
        pairs = pairs[part[pairs[:, 0]] != part[pairs[:, 1]]]
        if not len(pairs):
            return start, end, length
        gap = np.linalg.norm(self.places[pairs[:, 0]] - self.places[pairs[:, 1]], axis=1)
        key = np.sort(part[pairs], axis=1) @ np.array([count, 1])
        order = np.lexsort((gap, key))
        first = order[np.unique(key[order], return_index=True)[1]]
        bridged = pairs[first]
        return (
            np.concatenate([start, bridged[:, 0]]),
            np.concatenate([end, bridged[:, 1]]),
            np.concatenate([length, gap[first] * self.grid.edge_mm]),
        )

    def _all_roots(self, connected: object, roots: Index | None) -> Index:
        """The given roots, and the widest voxel of every part without one that is large enough."""
        count, part = connected_components(connected, directed=False)
        voxels = np.bincount(part, minlength=count)
        served = np.zeros(count, dtype=bool)
        if roots is not None:
            served[part[roots]] = True
        chosen = [] if roots is None else roots.tolist()
        least = self.rules.least_ml * 1000.0 / self.grid.edge_mm**3
        largest = int(voxels.argmax())
        order = np.argsort(-self.depth, kind="stable")
        for row in order:
            number = part[row]
            if not served[number] and (voxels[number] >= least or number == largest):
                served[number] = True
                chosen.append(int(row))
        return np.unique(np.array(chosen, dtype=np.int64))

    def branches(self, progress: Progress) -> tuple[Array, Index]:
        """Voxel indices (k, 3) of the tree's nodes and their parents, parents first."""
        covered = ~np.isfinite(self.far)
        tree = cKDTree(self.places)
        core = _Core(len(self.places))
        node_of = {int(root): number for number, root in enumerate(self.roots)}
        parent = [-1] * len(self.roots)
        core.add(self.roots, tree, self.places, self._core(self.roots))
        self._cover(tree, covered, self.roots)
        order = np.argsort(-np.where(covered, -1.0, self.far), kind="stable")
        total = max(1, int((~covered).sum()))
        for row in order:
            if covered[row]:
                continue
            way, fork = self._back(int(row), core)
            covered[row] = True
            self._cover(tree, covered, way)
            if not len(way) or self._is_spur(way, fork):
                continue
            before = fork
            for voxel in way[::-1].tolist():
                parent.append(node_of[before])
                node_of[voxel] = len(node_of)
                before = voxel
            core.add(way, tree, self.places, self._core(way))
            progress("following the vessels", 0.4 + 0.4 * float(covered.sum()) / (total + len(covered)))
        return self.places[list(node_of)].astype(np.float64), np.array(parent, dtype=np.int64)

    def _back(self, row: int, core: _Core) -> tuple[Index, int]:
        """Voxels from an end back to the middle of a vessel that the tree has, and the tree's voxel there."""
        way = []
        while core.owner[row] < 0:
            way.append(row)
            row = int(self.before[row])
        return np.array(way, dtype=np.int64), int(core.owner[row])

    def _is_spur(self, way: Index, fork: int) -> bool:
        length = self.far[way[0]] - self.far[fork]
        beyond = float(length - self.depth[fork])
        least = max(self.rules.spur_mm, self.rules.spur_radii * self.depth[fork])
        return fork not in self.roots and beyond < least

    def _core(self, way: Index) -> Array:
        """Extent of the middle of the vessel at each voxel, in voxels; neighbours by a corner at least."""
        return np.maximum(_CORE * self.depth[way] / self.grid.edge_mm, 1.8)

    def _cover(self, tree: cKDTree, covered: NDArray[np.bool_], way: Index) -> None:
        if len(way):
            for near in tree.query_ball_point(
                self.places[way], _COVER * self.depth[way] / self.grid.edge_mm + 2.0
            ):
                covered[near] = True


class _Core:
    """The middle of the vessels that the tree has: which of its voxels each voxel there is nearest to.

    Two ways along one wide vessel seldom run through the very same voxels; where the second comes into the middle of
    the vessel it has met the first.
    """

    def __init__(self, size: int) -> None:
        self.owner = np.full(size, -1, dtype=np.int64)
        self._squared = np.full(size, np.inf)

    def add(self, way: Index, tree: cKDTree, places: Index, reach: Array) -> None:
        """Take in the voxels of a branch, each with what lies within its reach (voxels)."""
        for voxel, near in zip(way, tree.query_ball_point(places[way], reach), strict=True):
            rows = np.array(near, dtype=np.int64)
            squared = ((places[rows] - places[voxel]) ** 2).sum(axis=1).astype(np.float64)
            nearer = squared < self._squared[rows]
            self.owner[rows[nearer]] = voxel
            self._squared[rows[nearer]] = squared[nearer]


def _thinned(points: Array, parent: Index, step_mm: float) -> tuple[Array, Index]:
    """The tree with roots, forks and ends, and of what lies between them a node about every `step_mm`."""
    kids = np.bincount(parent[parent >= 0], minlength=len(parent))
    keep = (kids != 1) | (parent < 0)
    since = np.zeros(len(parent))
    for row in np.flatnonzero(parent >= 0):
        up = parent[row]
        since[row] = np.linalg.norm(points[row] - points[up]) + (0.0 if keep[up] else since[up])
        if since[row] >= step_mm:
            keep[row] = True
    above = np.full(len(parent), -1, dtype=np.int64)
    for row in np.flatnonzero(parent >= 0):
        up = parent[row]
        above[row] = up if keep[up] else above[up]
    new = np.cumsum(keep) - 1
    up = above[keep]
    return points[keep], np.where(up >= 0, new[np.maximum(up, 0)], -1)


def _smoothed(points: Array, parent: Index, passes: int) -> Array:
    """Points moved towards the mean of their neighbours along the tree, and a little back; ends and roots stay."""
    n = len(parent)
    rows = np.flatnonzero(parent >= 0)
    up = parent[rows]
    degree = np.bincount(np.concatenate([rows, up]), minlength=n)
    loose = degree > 1
    loose[parent < 0] = False
    for number in range(2 * passes):
        total = np.zeros_like(points)
        np.add.at(total, rows, points[up])
        np.add.at(total, up, points[rows])
        mean = total / np.maximum(degree, 1)[:, None]
        factor = _SMOOTH if number % 2 == 0 else _UNSMOOTH
        points = np.where(loose[:, None], points + factor * (mean - points), points)
    return points
