import numpy as np
import pytest
from scipy.spatial.distance import cdist

from anatomy.agreement import dice, surface_distances
from anatomy.errors import AnatomyError


def block(shape: tuple[int, int, int], low: tuple[int, int, int], high: tuple[int, int, int]) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def test_dice_of_blocks_by_hand() -> None:
    a = block((10, 10, 10), (2, 2, 2), (6, 6, 6))
    b = block((10, 10, 10), (2, 2, 4), (6, 6, 8))
    assert dice(a, a) == 1.0
    assert dice(a, b) == 0.5
    assert dice(a, ~a & b & False) == 0.0
    assert dice(a & False, b & False) == 1.0


def test_parallel_plates_are_apart_by_the_anisotropic_gap() -> None:
    a = block((12, 8, 8), (2, 0, 0), (3, 8, 8))
    b = block((12, 8, 8), (7, 0, 0), (8, 8, 8))
    found = surface_distances(a, b, (0.7, 0.8, 2.5))
    assert found.average_mm == found.hausdorff95_mm == found.hausdorff_mm == pytest.approx(5 * 2.5)


def test_spheres_agree_with_brute_force() -> None:
    z, y, x = np.mgrid[:24, :28, :30]
    edges = np.array([0.9, 1.1, 1.7])
    place = np.stack([x, y, z], axis=-1) * edges
    a = np.linalg.norm(place - [13, 14, 19], axis=-1) < 9
    b = np.linalg.norm(place - [15, 15, 20], axis=-1) < 8

    def shell(mask: np.ndarray) -> np.ndarray:
        inside = mask.copy()
        for axis in range(3):
            inside &= np.roll(mask, 1, axis) & np.roll(mask, -1, axis)
        return place[mask & ~inside]

    apart = cdist(shell(a), shell(b))
    there, back = apart.min(axis=1), apart.min(axis=0)
    found = surface_distances(a, b, edges)
    assert found.hausdorff_mm == pytest.approx(max(there.max(), back.max()), rel=1e-12)
    assert found.average_mm == pytest.approx(np.concatenate([there, back]).mean(), rel=1e-12)
    assert found.hausdorff95_mm == pytest.approx(
        max(np.percentile(there, 95), np.percentile(back, 95)), rel=1e-12
    )
    assert found == surface_distances(b, a, edges)


def test_masks_that_cannot_be_compared_are_refused() -> None:
    a = block((5, 5, 5), (1, 1, 1), (3, 3, 3))
    with pytest.raises(AnatomyError, match="put both on one grid"):
        dice(a, a[:4])
    with pytest.raises(AnatomyError, match="at least one voxel"):
        surface_distances(a, a & False, (1, 1, 1))
    with pytest.raises(AnatomyError, match="positive voxel edges"):
        surface_distances(a, a, (1, 0, 1))
