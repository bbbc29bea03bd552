"""Changes of topology made by hand, along facets that a mesh already has: what cuts are compared with."""

from __future__ import annotations

import numpy as np

from anatomy.mesh import OrganMesh, unpaired_facets
from solver.topology import TopologyChange


def opened_at(organ: OrganMesh, x_mm: float, upto_mm: float = np.inf) -> TopologyChange:
    """Open a block at the lattice plane x, from y = 0 up to y; its edge there stays closed, as the tip of a crack."""
    points = organ.points
    on = np.abs(points[:, 0] - x_mm) < 1e-9
    parted = np.flatnonzero(on & (points[:, 1] < upto_mm - 1e-9))
    copy = np.arange(len(points))
    copy[parted] = len(points) + np.arange(len(parted))
    beyond = points[organ.tets].mean(axis=1)[:, 0] > x_mm
    tets = np.where(beyond[:, None], copy[organ.tets], organ.tets)
    parents = np.concatenate([np.arange(len(points)), parted])
    after = OrganMesh(points[parents], tets, organ.region, organ.structures)
    old = {tuple(sorted(f)) for f in organ.exterior.tolist()}
    facets, _ = unpaired_facets(tets)
    raw = np.array([f for f in facets.tolist() if tuple(sorted(parents[f].tolist())) not in old])
    return TopologyChange(
        organ, after, np.stack([parents, parents], axis=1), np.zeros(len(parents)),
        np.arange(len(tets)), raw, _area(after, raw) / 2,
    )  # fmt: skip


def _area(organ: OrganMesh, facets: np.ndarray) -> float:
    a, b, c = organ.points[facets].transpose(1, 0, 2)
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)
