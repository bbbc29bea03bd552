import numpy as np
import pytest

from solver.errors import SolverError
from solver.rigid import Capsule, DistanceGrid, Plane, Sphere
from solver.verification.blocks import kuhn_block


def ball_on_a_grid(radius=6.0, spacing=0.5):
    axis = np.arange(-9, 9.1, spacing)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    return DistanceGrid(np.linalg.norm(grid, axis=-1) - radius, (-9, -9, -9), spacing)


@pytest.mark.parametrize(
    "shape",
    [
        Sphere((1, 2, 3), 2.0),
        Plane((0, 0, 1), (1, 2, 2)),
        Capsule((0, 0, 0), (4, 1, 0), 1.5),
        ball_on_a_grid(),
    ],
    ids=lambda s: type(s).__name__,
)
def test_derivatives_are_those_of_the_distance(shape):
    points = np.random.default_rng(4).uniform(-6, 6, size=(200, 3))
    gap, normal, curvature = shape.distance(points)
    h = 1e-5
    for axis in range(3):
        step = h * np.eye(3)[axis]
        ahead, behind = shape.distance(points + step), shape.distance(points - step)
        assert normal[:, axis] == pytest.approx((ahead.gap - behind.gap) / (2 * h), abs=1e-6)
        slope = (ahead.normal - behind.normal) / (2 * h)
        # The second derivative of a capsule jumps where its ends begin.
        agree = np.abs(slope - curvature[:, :, axis]).max(axis=1) < 1e-5
        assert agree.mean() > 0.98
    assert np.isfinite(gap).all()


def test_distances_of_round_and_flat_shapes():
    assert Sphere((0, 0, 0), 2.0).distance(np.array([[3.0, 4.0, 0], [0, 0, 0]])).gap.tolist() == [3.0, -2.0]
    assert Plane((0, 0, 5), (0, 0, 2)).distance(np.array([[1.0, 1, 7], [0, 0, 4]])).gap.tolist() == [
        2.0,
        -1.0,
    ]
    rod = Capsule((0, 0, 0), (10, 0, 0), 1.0)
    assert rod.distance(np.array([[5.0, 3, 4], [-3, 0, 4], [12, 0, 0]])).gap == pytest.approx([4.0, 4.0, 1.0])


def test_a_grid_gives_the_distance_between_its_points_and_beyond():
    ball = ball_on_a_grid()
    points = np.random.default_rng(5).normal(size=(300, 3))
    points *= (
        np.random.default_rng(6).uniform(4, 7, size=300)[:, None] / np.linalg.norm(points, axis=1)[:, None]
    )
    gap, normal, _ = ball.distance(points)
    radius = np.linalg.norm(points, axis=1)
    assert gap == pytest.approx(radius - 6, abs=1e-3)
    assert normal == pytest.approx(points / radius[:, None], abs=2e-3)
    far = ball.distance(np.array([[20.0, 0, 0]]))
    assert far.gap[0] == pytest.approx(14.0, abs=1e-3)
    assert far.normal[0] == pytest.approx([1, 0, 0])


def test_a_closed_surface_and_voxels_become_shapes():
    organ = kuhn_block((8, 6, 4), (2, 2, 2))
    box = DistanceGrid.of_surface(organ.points, organ.exterior, 0.5, 3.0)
    found = box.distance(np.array([[4.0, 3, 2], [4, 3, 5], [-2, 3, 2], [4, 3, 3.5], [10, 8, 2]])).gap
    assert found == pytest.approx([-2.0, 1.0, 2.0, -0.5, np.sqrt(8)], abs=0.05)
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[6:14, 6:14, 6:14] = True
    cube = DistanceGrid.of_mask(mask, (0, 0, 0), 1.0)
    assert cube.distance(np.array([[15.5, 9.5, 9.5], [9.5, 9.5, 12.5]])).gap == pytest.approx(
        [2.0, -1.0], abs=0.1
    )


def test_malformed_shapes_are_refused():
    for make, sentence in (
        (lambda: Sphere((0, 0, 0), -1.0), "radius of the sphere is -1 mm"),
        (lambda: Sphere((0, 0), 1.0), "centre of the sphere"),
        (lambda: Plane((0, 0, 0), (0, 0, 0)), "normal of the plane is zero"),
        (lambda: Capsule((0, 0, 0), (0, 0, 0), 1.0), "use a sphere"),
        (lambda: DistanceGrid(np.ones((5, 5, 5)), (0, 0, 0), 1.0), "holds no surface"),
        (lambda: DistanceGrid(np.ones((5, 5)), (0, 0, 0), 1.0), "at least 4 × 4 × 4"),
    ):
        with pytest.raises(SolverError, match=sentence):
            make()
