from __future__ import annotations

import numpy as np
import pytest
from numpy.random import default_rng
from scipy.spatial import cKDTree

from anatomy.errors import AnatomyError
from anatomy.vessels import CentrelineRules, VesselTree, centreline
from sample_scans.trees import grow_tree
from tests.anatomy.vessels.conftest import CENTRE, empty_image, filled, painted, positions


def turned(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def sampled(tree):
    """Points all along a tree."""
    a, b, _ = tree.segments
    return np.concatenate([a + t * (b - a) for t in np.linspace(0.0, 1.0, 8)])


@pytest.mark.parametrize(
    ("spacing", "direction"),
    [((1.0, 1.0, 1.0), None), ((0.8, 0.8, 2.0), None), ((0.9, 0.9, 1.5), turned(25.0))],
)
def test_a_fork_is_found_with_its_calibres(fork, spacing, direction):
    size = (np.ceil(90 / np.array(spacing))).astype(int).tolist()
    image = empty_image(size, spacing, direction)
    found = centreline(filled(image, painted(fork, image)), root_mm=fork.points[0])
    assert len(found.roots) == 1
    assert len(found.forks) == 1
    assert len(found.leaves) == 2
    away = cKDTree(sampled(fork)).query(found.points)[0]
    assert away.mean() < 0.5 * max(spacing)
    assert np.linalg.norm(found.points[found.forks[0]] - CENTRE) < 3.5
    trunk, *arms = found.branches
    assert trunk.radius_mm == pytest.approx(3.0, rel=0.08)
    for arm in arms:
        assert arm.radius_mm == pytest.approx(3.0 / 2 ** (1 / 3), rel=0.10)
        assert arm.generation == 1
    assert found.volume_ml == pytest.approx(painted(fork, image).sum() * np.prod(spacing) / 1000, rel=0.08)


def test_without_a_root_the_widest_end_begins(fork):
    image = empty_image()
    found = centreline(filled(image, painted(fork, image)))
    assert np.linalg.norm(found.points[found.roots[0]] - fork.points[0]) < 4.0
    assert len(found.branches) == 3


def test_bumps_on_the_wall_are_no_branches():
    image = empty_image((60, 60, 90))
    at = positions(image) - CENTRE
    tube = (np.hypot(at[..., 0], at[..., 1]) < 5.0) & (np.abs(at[..., 2]) < 38)
    rng = default_rng(3)
    for height, angle in zip(rng.uniform(-30, 30, 12), rng.uniform(0, 6.3, 12), strict=True):
        bump = CENTRE + np.array([5.0 * np.cos(angle), 5.0 * np.sin(angle), height])
        tube |= np.linalg.norm(positions(image) - bump, axis=-1) < 1.6
    found = centreline(filled(image, tube), root_mm=CENTRE - [0, 0, 38])
    assert len(found.branches) == 1
    assert found.branches[0].length_mm == pytest.approx(76.0, abs=3.0)


def test_a_small_gap_is_bridged_and_a_wide_one_is_not():
    image = empty_image((40, 40, 90))
    at = positions(image) - CENTRE
    tube = (np.hypot(at[..., 0], at[..., 1]) < 3.0) & (np.abs(at[..., 2]) < 38)
    tube &= np.abs(at[..., 2] - 10.0) > 1.5
    whole = centreline(filled(image, tube), root_mm=CENTRE - [0, 0, 38])
    assert len(whole.roots) == 1
    assert whole.distance_from_root_mm.max() > 70.0
    parts = centreline(filled(image, tube), CENTRE - [0, 0, 38], CentrelineRules(gap_mm=1.0))
    assert len(parts.roots) == 2


def test_a_grown_tree_is_found_again():
    """The sample patients' own growth gives a tree with everything known, in an ellipsoid of 80 x 70 x 60 mm."""
    image = empty_image((84, 76, 66), (1.0, 1.0, 1.0), centre=np.zeros(3))
    at = positions(image)
    depth = (np.sqrt(((at / [38.0, 34.0, 29.0]) ** 2).sum(axis=-1)) - 1.0) * 29.0
    organ = (depth.astype(np.float32), np.array(image.GetOrigin()), np.ones(3))
    stem = np.array([[0.0, 0.0, -24.0], [0.0, 0.0, -8.0], [-14.0, 0.0, 0.0], [14.0, 0.0, 2.0]])
    true = grow_tree(stem, [-1, 0, 1, 1], 14, 1.3, organ, np.zeros((0, 7)), default_rng(5))
    true = VesselTree(true.points, true.radius, true.parent)
    found = centreline(filled(image, painted(true, image)), root_mm=true.points[0])
    there = cKDTree(sampled(found)).query(true.points)[0]
    back = cKDTree(sampled(true)).query(found.points)[0]
    assert np.mean(there < 1.5) > 0.95
    assert np.median(back) < 0.5
    assert np.mean(back < 1.5) > 0.98
    assert abs(len(found.leaves) - len(true.leaves)) <= 2
    assert abs(found.strahler.max() - true.strahler.max()) <= 1
    middle = 0.5 * (true.segments[0] + true.segments[1])
    gap, row = cKDTree(middle).query(found.points)
    ratio = (found.radius / true.segments[2][row])[(gap < 1.5) & (found.parent >= 0)]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.06)


def test_nonsense_is_refused(fork):
    image = empty_image()
    with pytest.raises(AnatomyError, match="no voxel"):
        centreline(image)
    with pytest.raises(AnatomyError, match="mm from the vessels"):
        centreline(filled(image, painted(fork, image)), root_mm=[500.0, 0.0, 0.0])
    with pytest.raises(AnatomyError, match="spur_mm"):
        CentrelineRules(spur_mm=-1.0)
