"""Shown surfaces: closed, manifold, smooth, of the right volume and place, whatever the image's axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from anatomy.manifold import pinched_edges, pinched_vertices
from anatomy.surfaces import Surface, show_surface


def one_label(
    mask: NDArray[np.bool_],
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0),
    direction: NDArray[np.float64] | None = None,
) -> LabelMap:
    """A liver from a mask in x, y, z order."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(mask.transpose(2, 1, 0)).astype(np.uint8))
    image.SetSpacing(spacing)
    image.SetOrigin((100.0, -20.0, 7.0))
    if direction is not None:
        image.SetDirection(direction.reshape(-1).tolist())
    return LabelMap(image, {1: "liver"})


def check_closed(surface: Surface) -> None:
    assert len(pinched_edges(surface.triangles)) == 0
    assert len(pinched_vertices(surface.triangles)) == 0
    assert surface.volume_ml > 0
    directed = surface.triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    assert len(np.unique(directed, axis=0)) == len(directed)


@pytest.mark.parametrize("flip", [(1.0, 1.0, 1.0), (-1.0, 1.0, 1.0), (-1.0, -1.0, -1.0)])
def test_a_ball_with_thick_slices_in_any_frame(flip: tuple[float, float, float]) -> None:
    spacing = np.array([0.8, 0.8, 3.0])
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1.0]]) @ np.diag(flip)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in (60, 60, 18)), indexing="ij"), axis=-1)
    world = (index * spacing) @ turn.T + (100, -20, 7)
    centre = (np.array([30, 30, 9]) * spacing) @ turn.T + (100, -20, 7)
    labels = one_label(np.linalg.norm(world - centre, axis=-1) < 20, tuple(spacing), turn)
    surface = show_surface(labels, "liver")
    check_closed(surface)
    assert surface.volume_ml == pytest.approx(labels.volumes_ml["liver"], rel=1e-4)
    radius = np.linalg.norm(surface.points - centre, axis=1)
    assert abs(radius.mean() - 20) < 0.2
    assert np.abs(radius - 20).max() < 1.5  # half a slice
    a, b, c = (surface.points[surface.triangles[:, i]] for i in range(3))
    outward = np.einsum("ij,ij->i", np.cross(b - a, c - a), (a + b + c) / 3 - centre)
    assert (outward > 0).all()


def test_random_voxels_give_a_manifold() -> None:
    for seed in range(3):
        mask = np.random.default_rng(seed).random((14, 12, 13)) < 0.35
        check_closed(show_surface(one_label(mask), "liver", smoothing=0.0))


def test_smoothing_flattens_the_stairs() -> None:
    index = np.stack(np.meshgrid(*(np.arange(40),) * 3, indexing="ij"), axis=-1) - 20
    labels = one_label(np.linalg.norm(index, axis=-1) < 14)
    rough = [
        np.std(np.linalg.norm(show_surface(labels, "liver", s).points - (120, 0, 27), axis=1))
        for s in (0, 0.5, 1)
    ]
    assert rough[1] < 0.55 * rough[0]
    assert rough[2] < rough[1]


def test_a_real_liver_is_thinned_out_in_shape(shared_scans: Path) -> None:
    labels = LabelMap.read(shared_scans / "abdomen_ct" / "labels_v1.nii.gz")
    full = show_surface(labels, "liver")
    thin = show_surface(labels, "liver", target_triangles=6000)
    for surface in (full, thin):
        check_closed(surface)
        assert surface.volume_ml == pytest.approx(labels.volumes_ml["liver"], rel=1e-3)
    assert len(full.triangles) > 20000
    assert len(thin.triangles) < 6100


def test_wrong_wishes_are_refused() -> None:
    labels = one_label(np.pad(np.ones((3, 3, 3), dtype=bool), 2))
    with pytest.raises(AnatomyError, match="smoothing runs"):
        show_surface(labels, "liver", smoothing=2.0)
    with pytest.raises(AnatomyError, match="too few"):
        show_surface(labels, "liver", target_triangles=5)
    with pytest.raises(AnatomyError, match="spleen"):
        show_surface(labels, "spleen")


@pytest.mark.parametrize("smoothing", [0.5, 1.0])
@pytest.mark.parametrize("radius", [1.5, 3.0])
def test_no_part_shrinks_though_the_whole_keeps_its_volume(radius: float, smoothing: float) -> None:
    """A thin tube beside a large ball: smoothing may not take from the one to give to the other."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in (64, 40, 40)), indexing="ij"), axis=-1)
    ball = np.linalg.norm(index - (17, 20, 20), axis=-1) < 12
    tube = np.linalg.norm(index[..., 1:] - (20.3, 19.8), axis=-1) < radius
    tube &= (index[..., 0] > 20) & (index[..., 0] < 60)
    surface = show_surface(one_label(ball | tube), "liver", smoothing)
    check_closed(surface)
    local = surface.points - (100, -20, 7)
    areas = [section_area(local, surface.triangles, x) for x in np.arange(36.25, 54, 2.0)]
    assert np.mean(areas) == pytest.approx(np.count_nonzero(tube[45]), rel=0.01)
    distance = np.linalg.norm(local - (17, 20, 20), axis=1)[local[:, 0] < 17]
    assert distance.mean() == pytest.approx(12, rel=0.01)


def section_area(points: NDArray[np.float64], triangles: NDArray[np.int64], x: float) -> float:
    """Area of the cross-section of a closed surface at x: ½ ∮ r × dr over the cut triangles' segments."""
    total = 0.0
    for corners in points[triangles[np.ptp((points[triangles, 0] > x).astype(int), axis=1) > 0]]:
        cut = []
        for a, b in ((0, 1), (1, 2), (2, 0)):
            p, q = corners[a], corners[b]
            if (p[0] > x) != (q[0] > x):
                cut.append(p + (x - p[0]) / (q[0] - p[0]) * (q - p))
        start, end = np.array(cut)[:, 1:]
        normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])[1:]
        middle = (start + end) / 2 - (20, 20)
        # By the divergence theorem: half of r · n over the outline, n outwards in the plane.
        outward = np.array([end[1] - start[1], start[0] - end[0]])
        total += 0.5 * float(middle @ outward) * float(np.sign(outward @ normal))
    return total
