"""Segments of a liver that is made so that its segments are known: a half ellipsoid with eight portal branches."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from anatomy.errors import AnatomyError
from anatomy.vessels import VesselTree, couinaud_segments
from tests.anatomy.vessels.conftest import empty_image, filled, positions

# Angle around the cava (0 left, 90 front, 180 right) at which each hepatic vein and each sector's middle stands.
VEINS = {"left": 55.0, "middle": 95.0, "right": 140.0}
SECTORS = {"lateral": 28.0, "medial": 75.0, "anterior": 118.0, "posterior": 165.0}
LEVEL = -45.0
CAVA = np.zeros(3)


def around(angle, radius, height):
    a = np.radians(angle)
    return np.array([radius * np.cos(a), -radius * np.sin(a), height])


class Growing:
    """A tree that is written branch by branch."""

    def __init__(self, point, radius):
        self.points, self.radii, self.parents = [np.asarray(point, dtype=float)], [radius], [-1]

    def branch(self, begin, end, radius, step=3.0):
        a, b = self.points[begin], np.asarray(end, dtype=float)
        count = max(1, int(np.linalg.norm(b - a) / step))
        for t in np.arange(1, count + 1) / count:
            self.points.append(a + t * (b - a))
            self.radii.append(radius)
            self.parents.append(begin)
            begin = len(self.points) - 1
        return begin

    @property
    def tree(self):
        return VesselTree(np.array(self.points), np.array(self.radii), np.array(self.parents))


def hepatic():
    grow = Growing(CAVA, 6.0)
    for angle in VEINS.values():
        grow.branch(0, around(angle, 95.0, -45.0), 4.0)
    return grow.tree


def portal():
    grow = Growing([-5.0, -25.0, -75.0], 6.0)
    fork = grow.branch(0, [-8.0, -25.0, LEVEL], 6.0)
    right = grow.branch(fork, around(140.0, 45.0, LEVEL), 5.0)
    left = grow.branch(fork, around(60.0, 40.0, LEVEL), 4.0)
    ends = {}
    for name, begin in (("posterior", right), ("anterior", right), ("medial", left), ("lateral", left)):
        stem = grow.branch(begin, around(SECTORS[name], 60.0, LEVEL), 3.0)
        for upper in (True, False):
            end = around(SECTORS[name], 80.0, LEVEL + (22.0 if upper else -22.0))
            ends[name, upper] = grow.branch(stem, end, 2.0)
    return grow.tree, ends


@pytest.fixture(scope="module")
def made():
    image = empty_image((110, 66, 60), (2.0, 2.0, 2.0), centre=np.array([-5.0, -55.0, -45.0]))
    at = positions(image)
    shape = (at[..., 0] / 105.0) ** 2 + (at[..., 1] / 115.0) ** 2 + ((at[..., 2] + 45.0) / 50.0) ** 2 < 1.0
    organ = shape & (at[..., 1] < 5.0) & (np.hypot(at[..., 0], at[..., 1]) > 12.0)
    tree, ends = portal()
    return image, filled(image, organ), tree, ends, couinaud_segments(filled(image, organ), tree, hepatic())


def test_every_voxel_has_one_segment_and_none_is_missing(made):
    _, organ, _, _, found = made
    assert found.labels.structures == [f"liver_segment_{n}" for n in range(1, 9)]
    inside = sitk.GetArrayViewFromImage(organ) > 0
    assert np.array_equal(found.labels.array > 0, inside)
    assert sum(found.labels.volumes_ml.values()) == pytest.approx(inside.sum() * 8 / 1000)


def test_each_portal_branch_feeds_its_segment(made):
    _, _, _, ends, found = made
    expected = {
        ("posterior", True): 7, ("posterior", False): 6, ("anterior", True): 8, ("anterior", False): 5,
        ("medial", True): 4, ("medial", False): 4, ("lateral", True): 2, ("lateral", False): 3,
    }  # fmt: skip
    for place, segment in expected.items():
        fed = found.territories.of(ends[place])
        share = np.bincount(found.labels.array[fed], minlength=9) / fed.sum()
        assert share[segment] > 0.95, (place, share.round(2))


def test_the_veins_stand_at_the_borders(made):
    """Near a vein, away from the cava, the two segments beside it meet; their shares are about even."""
    image, _, _, _, found = made
    at = positions(image)
    angle = np.degrees(np.arctan2(-at[..., 1], at[..., 0]))
    radius = np.hypot(at[..., 0], at[..., 1])
    for name, right_of, left_of in (("middle", (5, 8), (4,)), ("right", (6, 7), (5, 8))):
        beside = (np.abs(angle - VEINS[name]) < 8) & (radius > 50) & (found.labels.array > 1)
        shares = [np.isin(found.labels.array[beside], group).mean() for group in (right_of, left_of)]
        assert min(shares) > 0.3, (name, shares)


def test_veins_are_told_right_middle_left(made):
    veins, tree = made[4].veins, hepatic()
    assert set(veins) == set(VEINS)
    for name, nodes in veins.items():
        end = tree.points[nodes[-1]]
        assert np.degrees(np.arctan2(-end[1], end[0])) == pytest.approx(VEINS[name], abs=1.0)


def test_the_caudate_lies_before_the_cava(made):
    image, _, _, _, found = made
    at = positions(image)[found.labels.mask("liver_segment_1")]
    assert np.hypot(at[:, 0], at[:, 1]).max() < 60.0
    assert at[:, 1].min() > -45.0


def test_too_few_veins_or_no_bifurcation_is_refused(made):
    _, organ, tree, _, _ = made
    veins = hepatic()
    two = veins.keep(np.flatnonzero(np.arange(len(veins.parent)) < 2 * len(veins.parent) // 3))
    with pytest.raises(AnatomyError, match="only 2 of the three hepatic veins"):
        couinaud_segments(organ, tree, two)
    stem = tree.keep(range(8))
    with pytest.raises(AnatomyError, match="is not seen to divide"):
        couinaud_segments(organ, stem, veins)


def test_a_segment_that_is_not_there_is_said(made):
    image, organ, tree, _, _ = made
    at = positions(image)
    cut = filled(image, (sitk.GetArrayViewFromImage(organ) > 0) & (np.hypot(at[..., 0], at[..., 1]) > 60.0))
    found = couinaud_segments(cut, tree, hepatic())
    assert "liver_segment_1" not in found.labels.structures
    assert "Couinaud segment I was not found" in found.labels.warnings[0]
