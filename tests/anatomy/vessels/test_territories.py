from __future__ import annotations

import numpy as np
import pytest

from anatomy.errors import AnatomyError
from anatomy.vessels import VesselTree, territories
from tests.anatomy.vessels.conftest import CENTRE, empty_image, filled, positions


def sources(points, radius):
    n = len(points)
    return VesselTree(np.array(points, dtype=float) + CENTRE, np.array(radius, dtype=float), np.full(n, -1))


def test_two_vessels_divide_a_box_half_way():
    image = empty_image((60, 40, 40))
    organ = filled(image, np.ones((40, 40, 60), dtype=bool))
    found = territories(organ, sources([[-18, 0, 0], [20, 0, 0]], [1, 1]), edge_mm=1.0)
    x = positions(image)[..., 0] - CENTRE[0]
    wrong = (found.node == 1) != (x > 1.0)
    assert wrong.mean() < 0.01
    assert found.node_ml.sum() == pytest.approx(96.0)


def test_weighted_by_calibre_the_border_is_the_sphere_of_apollonius():
    """Where distances are as the radii, 1 : 2, lies a sphere around the smaller vessel (Apollonius of Perga)."""
    image = empty_image((70, 60, 60))
    organ = filled(image, np.ones((60, 60, 70), dtype=bool))
    found = territories(organ, sources([[-12, 0, 0], [18, 0, 0]], [1, 2]), "calibre", edge_mm=1.0)
    at = positions(image) - CENTRE
    small = 2 * np.linalg.norm(at - [-12, 0, 0], axis=-1) < np.linalg.norm(at - [18, 0, 0], axis=-1)
    both = ((found.node == 0) & small).sum()
    assert 2 * both / ((found.node == 0).sum() + small.sum()) > 0.97


def test_a_fissure_is_not_crossed():
    """A slit open at the bottom: what lies across it is near in space and far through tissue."""
    image = empty_image((60, 30, 60))
    at = positions(image) - CENTRE
    organ = ~((np.abs(at[..., 0]) < 2.0) & (at[..., 2] > -20.0))
    tree = sources([[-8, 0, 20], [14, 0, -10]], [1, 1])
    found = territories(filled(image, organ), tree, edge_mm=1.0)
    across = (at[..., 0] > 3.0) & (at[..., 0] < 6.0) & (at[..., 2] > 18.0) & organ
    assert (
        np.linalg.norm(at[across] - [-8, 0, 20], axis=1).max()
        < np.linalg.norm(at[across] - [14, 0, -10], axis=1).min()
    )
    assert (found.node[across] == 1).all()
    assert (found.node[~organ] == -1).all()


def test_what_a_clamp_takes_adds_up(fork):
    image = empty_image()
    at = positions(image) - CENTRE
    organ = filled(image, np.linalg.norm(at, axis=-1) < 40.0)
    found = territories(organ, fork)
    arms = np.flatnonzero(fork.parent == 8)
    left, right = (found.of(int(arm)) for arm in arms)
    assert not (left & right).any()
    # The two arms are mirror images, and so is what they feed.
    assert left.sum() == pytest.approx(right.sum(), rel=0.02)
    assert (at[right][:, 0] > -2.5).all()
    assert found.fed_ml[0] == pytest.approx(np.pi * 4 / 3 * 40.0**3 / 1000, rel=0.01)
    divided = found.divided([0, *arms.tolist()])
    assert np.array_equal(divided == 2, left)
    assert np.array_equal(divided == 3, right)
    assert np.array_equal(divided > 0, found.node >= 0)


def test_nonsense_is_refused(fork):
    image = empty_image()
    organ = filled(image, np.ones((90, 90, 90), dtype=bool))
    away = VesselTree(fork.points + 500.0, fork.radius, fork.parent)
    with pytest.raises(AnatomyError, match="does not run through the organ"):
        territories(organ, away)
    with pytest.raises(AnatomyError, match="not 'flow'"):
        territories(organ, fork, "flow")
