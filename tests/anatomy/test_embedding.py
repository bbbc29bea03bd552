"""Embedding: affine fields are reproduced, forces are the transpose, points outside stay bounded."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from anatomy.embedding import Embedding
from anatomy.errors import AnatomyError

AFFINE = np.array([[1.1, 0.2, -0.3], [0.05, 0.9, 0.4], [-0.2, 0.1, 1.3]])
SHIFT = np.array([3.0, -7.0, 2.0])


@pytest.fixture(scope="module")
def ball() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A ball of radius 50 mm, graded: a cluster of small tetrahedra beside large ones."""
    rng = np.random.default_rng(4)
    shell = rng.normal(size=(300, 3))
    points = np.concatenate(
        [
            50.0 * shell / np.linalg.norm(shell, axis=1, keepdims=True),
            rng.uniform(-28, 28, size=(200, 3)),
            rng.uniform(-2, 2, size=(400, 3)),
        ]
    )
    tets = Delaunay(points).simplices.astype(np.int64)
    a, b, c, d = (points[tets[:, i]] for i in range(4))
    volume = np.einsum("ij,ij->i", b - a, np.cross(c - a, d - a))
    tets[volume < 0] = tets[volume < 0][:, [1, 0, 2, 3]]
    return points, tets[np.abs(volume) > 1e-3]


def test_affine_fields_are_reproduced_inside_and_near(ball: tuple) -> None:
    rng = np.random.default_rng(1)
    direction = rng.normal(size=(3000, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    points = direction * rng.uniform(0, 51, size=(3000, 1))
    embedding = Embedding(ball, points)
    moved = embedding.positions(ball[0] @ AFFINE.T + SHIFT)
    carried = np.abs(embedding.matrix @ ball[0] - points).max(axis=1) < 1e-7
    inside = embedding.outside_mm == 0
    assert inside.sum() > 2500
    assert carried[inside].all()
    assert np.abs(moved - (points @ AFFINE.T + SHIFT))[carried].max() < 1e-9
    np.testing.assert_allclose(embedding.matrix.sum(axis=1), 1.0, atol=1e-12)
    assert embedding.weights[inside].min() > -1e-8


def test_every_centroid_finds_its_own_tetrahedron(ball: tuple) -> None:
    points, tets = ball
    embedding = Embedding(ball, points[tets].mean(axis=1))
    np.testing.assert_array_equal(embedding.tet, np.arange(len(tets)))
    np.testing.assert_allclose(embedding.weights, 0.25, atol=1e-9)


def test_forces_do_the_same_work(ball: tuple) -> None:
    rng = np.random.default_rng(2)
    embedding = Embedding(ball, rng.uniform(-40, 40, size=(500, 3)))
    force, velocity = rng.normal(size=(500, 3)), rng.normal(size=ball[0].shape)
    on_points = np.sum(force * (embedding.matrix @ velocity))
    on_vertices = np.sum(embedding.forces(force) * velocity)
    assert on_vertices == pytest.approx(on_points, rel=1e-12)
    np.testing.assert_allclose(embedding.forces(force).sum(axis=0), force.sum(axis=0), atol=1e-10)


def test_outside_points_take_the_nearest_facet_and_stay_bounded() -> None:
    corner = np.array([[0.0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 10]])
    points = np.array([[2.0, 3.0, -1.0], [2.0, 3.0, -500.0], [-3.0, -4.0, -12.0]])
    embedding = Embedding((corner, np.array([[0, 1, 2, 3]])), points)
    np.testing.assert_allclose(embedding.outside_mm, [1.0, 500.0, 13.0], atol=1e-12)
    np.testing.assert_allclose(embedding.positions(corner), points, atol=1e-12)
    assert np.abs(embedding.weights).max() < 3.0
    stretched = embedding.positions(corner * [1, 1, 1.5])
    assert stretched[0, 2] == pytest.approx(-1.5)
    # The least height of this tetrahedron is 10/√3 mm; the far point rides on the motion that far out.
    assert stretched[1, 2] == pytest.approx(-500.0 - 0.5 * 10 / np.sqrt(3))
    shift = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(embedding.positions(corner + shift), points + shift, atol=1e-12)


def test_nearest_distances_agree_with_brute_force(ball: tuple) -> None:
    points = np.random.default_rng(3).normal(size=(60, 3)) * 60
    points = points[np.linalg.norm(points, axis=1) > 52]
    embedding = Embedding(ball, points)
    fine = np.random.default_rng(5).dirichlet(np.ones(4), size=(len(ball[1]), 40))
    samples = np.einsum("tsk,tkj->tsj", fine, ball[0][ball[1]]).reshape(-1, 3)
    sampled = np.linalg.norm(points[:, None] - samples[None], axis=2).min(axis=1)
    assert (embedding.outside_mm <= sampled + 1e-9).all()
    assert (embedding.outside_mm >= sampled - 3.0).all()


def test_bad_points_are_refused(ball: tuple) -> None:
    with pytest.raises(AnatomyError, match="shape"):
        Embedding(ball, np.zeros(3))
    with pytest.raises(AnatomyError, match="finite"):
        Embedding(ball, np.array([[0.0, np.nan, 0.0]]))
