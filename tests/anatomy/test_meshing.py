"""The mesher on label maps whose shapes are known, on random ones, and on a real one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from anatomy.lattice.cleaning import pinched_edges, pinched_vertices
from anatomy.mesh import FACETS_OF_TET, OrganMesh
from anatomy.meshing import mesh_labels

NAMES = {1: "liver", 2: "liver_tumour", 3: "gallbladder", 4: "portal_vein"}


def label_map(
    array: NDArray[np.integer],
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0),
    origin: tuple[float, float, float] = (-30.0, 40.0, 100.0),
    direction: NDArray[np.float64] | None = None,
) -> LabelMap:
    """A label map from an array in x, y, z order."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)).astype(np.uint8))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    if direction is not None:
        image.SetDirection(direction.reshape(-1).tolist())
    return LabelMap(image, {v: n for v, n in NAMES.items() if (array == v).any()})


def distance_from(
    centre: tuple[float, float, float], shape: tuple[int, int, int], step: float = 2.0
) -> NDArray[np.float64]:
    grid = np.stack(np.meshgrid(*(np.arange(n) * step for n in shape), indexing="ij"), axis=-1)
    return np.linalg.norm(grid - centre, axis=-1)


def nested_balls() -> NDArray[np.uint8]:
    """A ball of radius 26 mm with one of 11 mm inside it and one of 9 mm that touches it from outside."""
    shape = (40, 36, 34)
    array = np.zeros(shape, dtype=np.uint8)
    array[distance_from((34, 34, 33), shape) < 26] = 1
    array[distance_from((36, 30, 33), shape) < 11] = 2
    array[(distance_from((66, 34, 33), shape) < 9) & (array == 0)] = 3
    return array


def check_mesh(organ: OrganMesh) -> None:
    """What holds for every mesh: conforming, positive, closed, manifold outside, regions add up."""
    assert organ.tet_volumes.min() > 0
    facets = np.sort(organ.tets[:, FACETS_OF_TET].reshape(-1, 3), axis=1)
    _, count = np.unique(facets, axis=0, return_counts=True)
    assert count.max() <= 2
    assert len(np.unique(organ.points, axis=0)) == len(organ.points)
    assert len(np.unique(organ.tets)) == len(organ.points)
    assert len(pinched_edges(organ.exterior)) == 0
    assert len(pinched_vertices(organ.exterior)) == 0
    p, q, r = (organ.points[organ.exterior[:, i]] for i in range(3))
    enclosed = np.einsum("ij,ij->i", p, np.cross(q, r)).sum() / 6000
    assert sum(organ.volumes_ml.values()) == pytest.approx(enclosed, rel=1e-9)


def test_nested_and_touching_balls() -> None:
    labels = label_map(nested_balls())
    organ = mesh_labels(labels, edge_mm=6.0)
    check_mesh(organ)
    assert dict(organ.structures) == labels.names
    for name, volume in organ.volumes_ml.items():
        assert volume == pytest.approx(labels.volumes_ml[name], rel=0.02)
    assert len(organ.interface("liver", "liver_tumour")) > 50
    assert len(organ.interface("liver", "gallbladder")) >= 1
    json.dumps(organ.report)


def test_two_runs_agree_to_the_last_bit() -> None:
    labels = label_map(nested_balls())
    first, second = mesh_labels(labels, edge_mm=7.0), mesh_labels(labels, edge_mm=7.0)
    assert first.points.tobytes() == second.points.tobytes()
    assert first.tets.tobytes() == second.tets.tobytes()
    assert first.region.tobytes() == second.region.tobytes()


def test_the_image_frame_is_respected() -> None:
    """A rotated, flipped, anisotropic image meshes where its voxels lie in the patient."""
    shape = (30, 28, 12)
    spacing = np.array([1.5, 1.5, 4.0])
    angle = 0.4
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    turn = turn @ np.diag([-1.0, 1.0, -1.0])
    origin = np.array([10.0, -50.0, 30.0])
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    world = (index * spacing) @ turn.T + origin
    centre = (np.array([15, 14, 6]) * spacing) @ turn.T + origin
    array = (np.linalg.norm(world - centre, axis=-1) < 17).astype(np.uint8)
    labels = label_map(array, tuple(spacing), tuple(origin), turn)
    organ = mesh_labels(labels, edge_mm=5.0)
    check_mesh(organ)
    radius = np.linalg.norm(organ.points[np.unique(organ.exterior)] - centre, axis=1)
    assert np.abs(radius - 17).max() < 2.0  # half a slice
    assert np.abs(radius.mean() - 17) < 0.3


def test_wrong_knobs_and_lost_structures_are_refused() -> None:
    array = np.zeros((30, 30, 30), dtype=np.uint8)
    array[3:27, 3:27, 3:27] = 1
    array[14:15, 14:15, 5:25] = 4
    labels = label_map(array)
    with pytest.raises(AnatomyError, match="above 0"):
        mesh_labels(labels, edge_mm=0.0)
    with pytest.raises(AnatomyError, match="at least 100"):
        mesh_labels(labels, budget_tets=3)
    with pytest.raises(AnatomyError, match="between 0 and 1"):
        mesh_labels(labels, max_loss=0.0)
    with pytest.raises(AnatomyError, match=r"'portal_vein' would lose .* leave the structure out"):
        mesh_labels(labels, edge_mm=15.0)


def test_a_real_label_map(shared_scans: Path) -> None:
    labels = LabelMap.read(shared_scans / "abdomen_ct" / "labels_v1.nii.gz").select(
        ["liver", "gallbladder", "inferior_vena_cava", "portal_vein_and_splenic_vein", "kidney_right"]
    )
    organ = mesh_labels(labels, edge_mm=8.0, max_loss=0.5)
    check_mesh(organ)
    assert organ.volumes_ml["liver"] == pytest.approx(labels.volumes_ml["liver"], rel=0.02)
