"""The mesher on label maps whose shapes are known, on random ones, and on a real one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from anatomy.lattice.quality import dihedral_angles
from anatomy.manifold import pinched_edges, pinched_vertices
from anatomy.mesh import FACETS_OF_TET, OrganMesh
from anatomy.meshing import mesh_labels

NAMES = {1: "liver", 2: "liver_tumour", 3: "gallbladder", 4: "portal_vein", 5: "spleen"}


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
    """What holds for every mesh: conforming, positive, well shaped, every surface closed, volumes add up."""
    assert organ.tet_volumes.min() > 0
    facets = np.sort(organ.tets[:, FACETS_OF_TET].reshape(-1, 3), axis=1)
    _, count = np.unique(facets, axis=0, return_counts=True)
    assert count.max() <= 2
    assert len(np.unique(organ.points, axis=0)) == len(organ.points)
    assert len(np.unique(organ.tets)) == len(organ.points)
    angles = dihedral_angles(organ.points, organ.tets)
    assert angles[:, 0].min() >= 12.0
    assert angles[:, 1].max() <= 140.0
    check_surface(organ, organ.exterior, sum(organ.volumes_ml.values()))
    for value in np.unique(organ.region):
        name = organ.structures[int(value)]
        check_surface(organ, organ.surface_of(name), organ.volumes_ml[name])


def check_surface(organ: OrganMesh, surface: NDArray[np.int64], volume_ml: float) -> None:
    """A closed 2-manifold that encloses the volume."""
    assert len(pinched_edges(surface)) == 0
    assert len(pinched_vertices(surface)) == 0
    p, q, r = (organ.points[surface[:, i]] - organ.points.mean(axis=0) for i in range(3))
    enclosed = np.einsum("ij,ij->i", p, np.cross(q, r)).sum() / 6000
    assert volume_ml == pytest.approx(enclosed, rel=1e-9)


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


# --- thin structures, budgets and hard edges ----------------------------------------------------------------------


def liver_with_vessel(
    calibre: float, spacing: tuple[float, float, float], ways: list[tuple[float, float, float]]
) -> LabelMap:
    """A block of liver 52 mm wide with straight vessels from its middle."""
    size = tuple(int(60 / step) for step in spacing)
    grid = np.stack(
        np.meshgrid(*(np.arange(n) * s for n, s in zip(size, spacing, strict=True)), indexing="ij"), -1
    )
    local = grid - (30.3, 30.2, 30.1)
    array = (np.abs(local) < 26).all(axis=-1).astype(np.uint8)
    for way in ways:
        axis = np.array(way) / np.linalg.norm(way)
        along = local @ axis
        off = np.linalg.norm(local - along[..., None] * axis, axis=-1)
        array[(array > 0) & (off < calibre / 2) & (along > -1) & (along < 22)] = 4
    return label_map(array, spacing)


STRAIGHT, OBLIQUE = [(0.0, 0.0, 1.0)], [(1.0, 1.0, 1.0)]
BRANCHING = [(0.0, 0.0, -1.0), (1.0, 0.3, 1.0), (-0.6, 1.0, 1.0)]


@pytest.mark.parametrize("ways", [STRAIGHT, OBLIQUE, BRANCHING], ids=["straight", "oblique", "branching"])
@pytest.mark.parametrize("calibre", [3.0, 4.0, 6.0])
def test_vessels_from_three_millimetres_keep_their_volume(
    calibre: float, ways: list[tuple[float, float, float]]
) -> None:
    labels = liver_with_vessel(calibre, (1.0, 1.0, 1.0), ways)
    organ = mesh_labels(labels, edge_mm=6.0, finest_mm=1.5)
    check_mesh(organ)
    assert organ.volumes_ml["portal_vein"] == pytest.approx(labels.volumes_ml["portal_vein"], rel=0.05)
    assert organ.volumes_ml["liver"] == pytest.approx(labels.volumes_ml["liver"], rel=0.005)
    assert organ.report["labels"]["portal_vein"]["pieces"] == 1


@pytest.mark.parametrize("ways", [STRAIGHT, OBLIQUE], ids=["straight", "oblique"])
def test_thick_slices_do_not_drown_a_vessel(ways: list[tuple[float, float, float]]) -> None:
    labels = liver_with_vessel(4.0, (0.8, 0.8, 3.0), ways)
    organ = mesh_labels(labels, edge_mm=6.0, finest_mm=1.5)
    check_mesh(organ)
    assert organ.volumes_ml["portal_vein"] == pytest.approx(labels.volumes_ml["portal_vein"], rel=0.05)


@pytest.mark.parametrize("budget", [3_000, 20_000, 60_000])
def test_a_budget_is_made_the_most_of(budget: int) -> None:
    organ = mesh_labels(label_map(nested_balls()), budget_tets=budget)
    check_mesh(organ)
    assert 0.7 * budget <= len(organ.tets) <= budget


def test_an_edge_with_a_budget_only_grows() -> None:
    labels = label_map(nested_balls())
    free = mesh_labels(labels, edge_mm=8.0)
    roomy = mesh_labels(labels, edge_mm=8.0, budget_tets=10 * len(free.tets))
    assert roomy.points.tobytes() == free.points.tobytes()
    tight = mesh_labels(labels, edge_mm=8.0, budget_tets=len(free.tets) // 2)
    assert len(tight.tets) <= len(free.tets) // 2
    assert tight.report["edge_mm"] > 8.0


def test_a_label_up_to_the_border_of_the_image_is_closed_there() -> None:
    array = np.zeros((14, 12, 10), dtype=np.uint8)
    array[:9] = 1
    array[9:, :6] = 2
    labels = label_map(array)
    organ = mesh_labels(labels, edge_mm=5.0)
    check_mesh(organ)
    for name, volume in labels.volumes_ml.items():
        assert organ.volumes_ml[name] == pytest.approx(volume, rel=0.01)


def test_fifty_labels_with_values_up_to_255() -> None:
    array = np.zeros((16, 16, 16), dtype=np.uint8)
    for number in range(50):
        corner = np.array(np.unravel_index(number, (4, 4, 4))) * 4
        array[tuple(slice(c, c + 4) for c in corner)] = 206 + number
    image = sitk.GetImageFromArray(array)
    labels = LabelMap(image, {value: f"structure_{value}" for value in range(206, 256)})
    organ = mesh_labels(labels, edge_mm=4.0, max_loss=0.2)
    check_mesh(organ)
    assert set(np.unique(organ.region).tolist()) == set(range(206, 256))


def test_label_values_above_255_and_empty_labels_are_told() -> None:
    image = sitk.GetImageFromArray(np.pad(np.full((4, 4, 4), 300, np.uint16), 2))
    with pytest.raises(AnatomyError, match="up to 255; the map has 300: renumber it"):
        mesh_labels(LabelMap(image, {300: "liver"}))
    half = label_map(np.pad(np.ones((6, 6, 6), np.uint8), 2))
    half = LabelMap(half.image, {1: "liver", 2: "liver_tumour"})
    assert set(mesh_labels(half, edge_mm=5.0).structures.values()) == {"liver"}


def test_single_voxels_are_meshed_or_refused_by_name() -> None:
    array = np.zeros((20, 20, 20), dtype=np.uint8)
    array[4:16, 4:16, 4:16] = 1
    array[10, 10, 10] = 2
    labels = label_map(array)
    with pytest.raises(AnatomyError, match="'liver_tumour' would"):
        mesh_labels(labels, edge_mm=8.0)


# --- any label map ------------------------------------------------------------------------------------------------


@st.composite
def shapes(draw: st.DrawFn, size: tuple[int, int, int]) -> NDArray[np.bool_]:
    """A ball, box, tube, sheet, single voxel, checkerboard or noise, anywhere, cut off by the border or not."""
    seed = draw(st.integers(0, 2**32 - 1))
    kind = draw(st.sampled_from(["ball", "box", "tube", "sheet", "voxel", "checkerboard", "noise"]))
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"), axis=-1)
    centre, reach = random.random(3) * size, 0.1 + 0.4 * random.random()
    local = grid - centre
    if kind == "ball":
        return np.linalg.norm(local / (0.5 + random.random(3)), axis=-1) < reach * min(size)
    if kind == "box":
        return (np.abs(local) < reach * np.array(size) * random.random(3) + 1).all(axis=-1)
    axis = random.standard_normal(3)
    axis /= np.linalg.norm(axis)
    along = local @ axis
    if kind == "tube":
        return np.linalg.norm(local - along[..., None] * axis, axis=-1) < 0.6 + 3 * random.random()
    if kind == "sheet":
        return np.abs(along) < 0.5 + random.random()
    if kind == "voxel":
        return (grid == centre.astype(int)).all(axis=-1)
    inside = (np.abs(local) < 1 + reach * min(size)).all(axis=-1)
    if kind == "checkerboard":
        return inside & (grid.sum(axis=-1) % 2 == 0)
    return inside & (random.random(size) < 0.3 + 0.4 * random.random())


@st.composite
def label_maps(draw: st.DrawFn) -> LabelMap:
    """One to five labels of random shapes on a grid that may be anisotropic, oblique and flipped."""
    size = tuple(draw(st.integers(6, 18)) for _ in range(3))
    array = np.zeros(size, dtype=np.uint8)
    for value in range(1, 1 + draw(st.integers(1, 5))):
        array[draw(shapes(size))] = value
    assume(array.any())
    spacing = tuple(draw(st.sampled_from([0.7, 1.0, 2.0, 3.0, 5.0])) for _ in range(3))
    rotation = Rotation.random(rng=np.random.default_rng(draw(st.integers(0, 2**16)))).as_matrix()
    if draw(st.booleans()):
        rotation = rotation @ np.diag([1.0, 1.0, -1.0])
    return label_map(array, spacing, direction=rotation)


@settings(
    max_examples=30,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
@given(labels=label_maps(), edge=st.sampled_from([2.5, 4.0, 6.0]))
def test_every_label_map_gives_a_sound_mesh_or_a_clear_refusal(labels: LabelMap, edge: float) -> None:
    try:
        organ = mesh_labels(labels, edge_mm=edge, max_loss=1.0)
    except AnatomyError as error:
        # A clear refusal is a right end, too: of what would vanish, or of a speck that would double its volume.
        assert re.search("nothing would be left|would gain", str(error))  # noqa: PT017
        return
    check_mesh(organ)
    again = mesh_labels(labels, edge_mm=edge, max_loss=1.0)
    assert again.points.tobytes() == organ.points.tobytes()
    assert again.tets.tobytes() == organ.tets.tobytes()
    assert again.region.tobytes() == organ.region.tobytes()
