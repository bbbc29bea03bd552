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


def test_no_part_shrinks_though_the_whole_keeps_its_volume() -> None:
    """A thin tube beside a large ball: smoothing may not take from the one to give to the other."""
    size = np.array([64, 40, 40])
    index = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"), axis=-1)
    ball = np.linalg.norm(index - (17, 20, 20), axis=-1) < 12
    tube = (np.linalg.norm(index[..., 1:] - (20.3, 19.8), axis=-1) < 3) & (index[..., 0] > 20)
    tube &= index[..., 0] < 60
    surface = show_surface(one_label(ball | tube), "liver")
    check_closed(surface)
    local = surface.points - (100, -20, 7)
    for part, mask, low, high in (("ball", ball, 2, 20), ("tube", tube & ~ball, 34, 56)):
        exact = np.count_nonzero(mask[low + 1 : high + 1]) if part == "tube" else None
        radius = np.linalg.norm(local[:, 1:] - ((20.3, 19.8) if part == "tube" else (20, 20)), axis=1)
        chosen = (local[:, 0] > low) & (local[:, 0] < high)
        if exact is not None:
            # The mean area of the tube's cross-sections, against that of its voxels.
            area = np.pi * np.mean(radius[chosen] ** 2)
            assert area == pytest.approx(exact / (high - low), rel=0.05)
        else:
            middle = chosen & (np.abs(local[:, 0] - 17) < 4)
            distance = np.linalg.norm(local[middle] - (17, 20, 20), axis=1)
            assert distance.mean() == pytest.approx(12, abs=0.12)
