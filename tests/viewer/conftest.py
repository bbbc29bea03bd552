"""A small organ to draw: an ellipsoidal liver with one tumour in it, its CT and labels, all from formulas."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import pyvista as pv
import SimpleITK as sitk
from numpy.typing import NDArray

from anatomy.mesh import OrganMesh

RADII_MM = np.array([70.0, 45.0, 50.0])
CENTRE_MM = np.array([-40.0, -160.0, 900.0])
TUMOUR_MM, TUMOUR_RADIUS_MM = CENTRE_MM + np.array([25.0, 0.0, 5.0]), 13.0
# Kuhn's division of a cube into six tetrahedra of one orientation.
_KUHN = np.array([[0, 1, 3, 7], [0, 3, 2, 7], [0, 2, 6, 7], [0, 6, 4, 7], [0, 4, 5, 7], [0, 5, 1, 7]])


@dataclass
class Surface:
    points: NDArray[np.float64]
    triangles: NDArray[np.int64]


@dataclass
class SmallCase:
    title: str
    organ: OrganMesh
    surfaces: dict[str, Surface]
    scan: SimpleNamespace
    labels: SimpleNamespace
    path: Path
    facts: dict[str, object] = field(default_factory=dict)
    centre_mm: NDArray[np.float64] = field(default_factory=CENTRE_MM.copy)
    radii_mm: NDArray[np.float64] = field(default_factory=RADII_MM.copy)

    @property
    def pole_mm(self) -> NDArray[np.float64]:
        """The foremost point of the surface."""
        return self.centre_mm - [0.0, self.radii_mm[1], 0.0]

    def pulled(self, by_mm: float, time_s: float = 1.0) -> SmallFrame:
        """A smooth bump: tissue near the front pole is drawn forward (anterior) by up to `by_mm`."""
        near = np.exp(-(((self.organ.points - self.pole_mm) / 28.0) ** 2).sum(axis=1))
        displacement = np.zeros((len(self.organ.points), 3), dtype=np.float32)
        displacement[:, 1] = -by_mm * near
        force = {"grasper": np.array([0.0, -0.1 * by_mm, 0.0])} if by_mm else {}
        return SmallFrame(displacement, force, time_s=time_s)


@dataclass
class SmallFrame:
    displacement: NDArray[np.float32]
    forces_N: dict[str, NDArray[np.float64]]
    time_s: float = 0.0
    distance_mm: float = 0.02
    residual: float = 1e-5
    topology: int = 0
    state: str = "converged"


def ellipsoid_mesh(step_mm: float = 10.0) -> OrganMesh:
    """Kuhn tetrahedra of the lattice cubes whose centre lies in the ellipsoid."""
    low, high = CENTRE_MM - RADII_MM - step_mm, CENTRE_MM + RADII_MM + step_mm
    axes = [np.arange(a, b + step_mm, step_mm) for a, b in zip(low, high, strict=True)]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    index = np.arange(nodes[..., 0].size).reshape(nodes.shape[:3])
    corners = np.stack(
        [
            index[i : i - 1 or None, j : j - 1 or None, k : k - 1 or None].ravel()
            for k in (0, 1)
            for j in (0, 1)
            for i in (0, 1)
        ],
        axis=1,
    )
    points = nodes.reshape(-1, 3)
    centres = points[corners].mean(axis=1)
    inside = (((centres - CENTRE_MM) / RADII_MM) ** 2).sum(axis=1) < 1
    tets = corners[inside][:, _KUHN].reshape(-1, 4)
    used, tets = np.unique(tets, return_inverse=True)
    points, tets = points[used], tets.reshape(-1, 4)
    middle = points[tets].mean(axis=1)
    region = np.where(np.linalg.norm(middle - TUMOUR_MM, axis=1) < TUMOUR_RADIUS_MM, 2, 1)
    return OrganMesh(points, tets, region.astype(np.uint8), {1: "liver", 2: "liver_tumour"})


def _ball(centre: NDArray[np.float64], radii: NDArray[np.float64], resolution: int) -> Surface:
    ball = pv.Sphere(radius=1.0, theta_resolution=resolution, phi_resolution=resolution)
    return Surface(np.asarray(ball.points, dtype=float) * radii + centre, ball.regular_faces.astype(np.int64))


def _images(spacing: tuple[float, float, float]) -> tuple[sitk.Image, sitk.Image]:
    low = CENTRE_MM - [110.0, 80.0, 70.0]
    shape = [int(n / s) for n, s in zip((220, 160, 140), spacing, strict=True)]
    grid = np.stack(
        np.meshgrid(*[low[i] + spacing[i] * np.arange(shape[i]) for i in range(3)], indexing="ij"), -1
    )
    liver = (((grid - CENTRE_MM) / RADII_MM) ** 2).sum(-1) < 1
    tumour = np.linalg.norm(grid - TUMOUR_MM, axis=-1) < TUMOUR_RADIUS_MM
    body = (((grid - CENTRE_MM)[..., :2] / [100.0, 74.0]) ** 2).sum(-1) < 1
    hu = np.select([tumour, liver, body], [70, 110, -90], -1000) + np.random.default_rng(1).normal(
        0, 12, body.shape
    )
    values = np.select([tumour, liver], [2, 1], 0).astype(np.uint8)
    images = [
        sitk.GetImageFromArray(np.ascontiguousarray(a.transpose(2, 1, 0)))
        for a in (hu.astype(np.int16), values)
    ]
    for image in images:
        image.SetSpacing(spacing)
        image.SetOrigin(low.tolist())
    return images[0], images[1]


@pytest.fixture(scope="session")
def small_case(tmp_path_factory: pytest.TempPathFactory) -> SmallCase:
    scan, labels = _images((2.0, 2.0, 2.5))
    return SmallCase(
        title="Ellipsoidal liver",
        organ=ellipsoid_mesh(),
        surfaces={
            "liver": _ball(CENTRE_MM, RADII_MM, 80),
            "liver_tumour": _ball(TUMOUR_MM, np.full(3, TUMOUR_RADIUS_MM), 40),
        },
        scan=SimpleNamespace(image=scan, modality="CT"),
        labels=SimpleNamespace(image=labels, names={1: "liver", 2: "liver_tumour"}),
        path=tmp_path_factory.mktemp("case"),
    )
