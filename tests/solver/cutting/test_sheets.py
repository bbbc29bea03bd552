import numpy as np
import pytest

from solver.cutting import BladeStroke, Offset, Plane, SplineSheet, Values, cut
from solver.errors import SolverError
from solver.verification.blocks import kuhn_block

DOWN = (0.0, 0.0, -1.0)


def test_a_plane_knows_its_two_sides():
    plane = Plane((1.0, 0.0, 0.0), (3.0, 0.0, 0.0))
    assert plane.distance(np.array([[5.0, 7, 7], [-1, 0, 0]])) == pytest.approx([4.0, -2.0])


def test_a_stroke_is_a_rectangle_with_a_front_and_a_back():
    stroke = BladeStroke([(0, 0, 0), (10, 0, 0)], DOWN, 6.0, height_mm=5.0, rounded=False)
    points = np.array(
        [[5.0, 2, -3], [5, -2, -3], [5, 0, -5], [5, 0, -8], [12, 0, -1], [-3, 0, -1], [5, 0, 7]]
    )
    distance, extent = stroke.distance(points), stroke.extent(points)
    assert abs(distance[0]) == pytest.approx(2.0)
    assert distance[0] == pytest.approx(-distance[1])
    assert np.abs(distance[2:]) == pytest.approx(np.zeros(5))
    assert extent[[2, 3, 4, 5, 6]] == pytest.approx([-1.0, 2.0, 2.0, 3.0, 2.0])
    assert stroke.length_mm == pytest.approx(10.0)


def test_round_ends_run_up_in_an_arc():
    stroke = BladeStroke([(0, 0, 0), (20, 0, 0)], DOWN, 5.0)
    corner, bottom = np.array([[0.2, 0, -4.8]]), np.array([[10.0, 0, -4.8]])
    assert stroke.extent(corner)[0] > 0
    assert stroke.extent(bottom)[0] == pytest.approx(-0.2)
    on_arc = np.array([[5.0 - 5.0 / np.sqrt(2), 0, -5.0 / np.sqrt(2)]])
    assert stroke.extent(on_arc)[0] == pytest.approx(0.0, abs=1e-12)


def test_a_bent_stroke_keeps_one_side_on_either_side_of_its_corner():
    stroke = BladeStroke([(0, 0, 0), (10, 0, 0), (10, 10, 0)], DOWN, 5.0)
    inside = np.array([[5.0, 3, 0], [8, 2, 0], [7, 9, 0], [9.5, 0.5, 0]])
    outside = np.array([[5.0, -3, 0], [12, -2, 0], [13, 9, 0], [10.5, -0.5, 0]])
    assert len(np.unique(np.sign(stroke.distance(inside)))) == 1
    assert (np.sign(stroke.distance(outside)) == -np.sign(stroke.distance(inside))).all()
    assert np.abs(stroke.distance(outside[[3]])) == pytest.approx([np.sqrt(0.5)])


def test_depth_is_measured_from_the_path_where_that_slopes():
    stroke = BladeStroke([(0, 0, 0), (10, 0, 5)], DOWN, 4.0, rounded=False)
    assert stroke.extent(np.array([[10.0, 0, 2], [0, 0, -3]]))[:] == pytest.approx([0.0, 0.0], abs=1e-12)
    assert stroke.extent(np.array([[5.0, 0, -2.5]]))[0] == pytest.approx(1.0)


def test_a_spline_sheet_passes_through_its_points_and_reproduces_a_plane():
    rng = np.random.default_rng(1)
    flat = rng.uniform(-30, 30, (12, 2))
    bowl = np.column_stack([flat, 0.01 * (flat**2).sum(axis=1)])
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    sheet = SplineSheet(bowl @ turn.T + 5.0)
    assert sheet.distance(np.asarray(sheet.points_mm)) == pytest.approx(np.zeros(12), abs=1e-9)
    plane = SplineSheet(np.column_stack([flat, 0.3 * flat[:, 0] + 4.0]))
    normal = np.array([-0.3, 0.0, 1.0]) / np.hypot(0.3, 1.0)
    points = rng.uniform(-50, 50, (40, 3))
    assert np.abs(plane.distance(points)) == pytest.approx(
        np.abs(points @ normal - 4.0 * normal[2]), abs=1e-8
    )


def test_a_spline_sheet_can_end_beside_its_points():
    square = [(0, 0, 0), (10, 0, 0), (10, 10, 0), (0, 10, 0)]
    sheet = SplineSheet(square, reach_mm=2.0)
    assert sheet.extent(np.array([[5.0, 5, 3], [15, 5, 0], [11, 5, 0]])) == pytest.approx([-7.0, 3.0, -1.0])


def test_a_margin_is_the_distance_to_the_structure():
    tumour = kuhn_block((10, 10, 10), (2, 2, 2))
    sheet = Offset(tumour.points, tumour.tets, 4.0)
    points = np.array([[5.0, 5, 5], [13, 5, 5], [13, 14, 5], [5, 5, 15], [60, 5, 5]])
    distance = sheet.distance(points)
    # The structure is sampled: its margin may be kept a little too wide, never too narrow.
    assert (distance <= np.array([-4.0, -1.0, np.hypot(3, 4) - 4.0, 1.0, 46.0]) + 1e-9).all()
    assert distance[1:] == pytest.approx([-1.0, np.hypot(3, 4) - 4.0, 1.0, 46.0], abs=0.1)


def test_an_opened_margin_widens_on_its_way_out():
    tumour = kuhn_block((10, 10, 10), (2, 2, 2))
    sheet = Offset(tumour.points, tumour.tets, 4.0, towards=(0, 0, 2.0), reach_mm=60.0, angle_deg=15.0)
    sine, cosine = np.sin(np.radians(15.0)), np.cos(np.radians(15.0))
    for height in (10.0, 30.0, 45.0):
        # Balls around the lowest edge of the block, which grow on their way up, are touched by one cone.
        ball = 4.0 + sine * (height + 4.0 * sine) / cosine**2
        radius = 5.0 + ball * cosine
        inside, outside = (
            np.array([[5.0 + radius - 0.1, 5, height]]),
            np.array([[5.0 + radius + 0.3, 5, height]]),
        )
        assert sheet.distance(inside)[0] < 0 < sheet.distance(outside)[0]
    assert sheet.distance(np.array([[5.0, 5, -5]]))[0] > 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Plane((0, 0, np.nan), DOWN), "not finite"),
        (lambda: Plane((0, 0, 0), (0, 0, 0)), "normal of the plane"),
        (lambda: Plane((0, 0), DOWN), "point of the plane"),
        (lambda: BladeStroke([(0, 0, 0), (5, 0, 0)], DOWN, 0.0), "depth of the stroke is 0 mm"),
        (lambda: BladeStroke([(0, 0, 0), (5, 0, 0)], DOWN, -3.0), "depth of the stroke is -3 mm"),
        (lambda: BladeStroke([(0, 0, 0), (5, 0, 0)], DOWN, np.inf), "depth"),
        (lambda: BladeStroke([(0, 0, 0)], DOWN, 5.0), "at least 2 points"),
        (lambda: BladeStroke([(1, 1, 1), (1, 1, 1)], DOWN, 5.0), "no length across its blade"),
        (lambda: BladeStroke([(0, 0, 0), (0, 0, 9)], DOWN, 5.0), "no length across its blade"),
        (lambda: BladeStroke([(0, 0, 0), (np.inf, 0, 0)], DOWN, 5.0), "not finite"),
        (lambda: SplineSheet([(0, 0, 0), (1, 0, 0)]), "at least 3 points"),
        (lambda: SplineSheet([(0, 0, 0), (1, 0, 0), (2, 0, 0)]), "lie on a line"),
        (lambda: SplineSheet([(0, 0, 0), (9, 0, 0), (0, 9, 0), (0, 0, 0)]), "at one place"),
        (lambda: Offset(np.zeros((4, 3)), np.array([[0, 1, 2, 3]]), 0.0), "margin"),
        (lambda: Values([0.0, np.nan]), "finite number a vertex"),
    ],
)
def test_nonsense_is_refused_in_words(make, words):
    with pytest.raises(SolverError, match=words):
        make()


def test_a_structure_that_is_not_there_is_named_with_those_that_are():
    block = kuhn_block((10, 10, 10), (2, 2, 2))
    with pytest.raises(SolverError, match="no 'tumour' to cut around; the organ has liver"):
        Offset.around(block, block.points, "tumour", 5.0)


def test_values_of_another_organ_are_refused():
    block = kuhn_block((10, 10, 10), (2, 2, 2))
    with pytest.raises(SolverError, match="3 values for 27 vertices"):
        cut(block, block.points, Values([0.0, 1.0, 2.0]))
    with pytest.raises(SolverError, match="from 0 to 10; choose one between"):
        cut(block, block.points, Values(block.points[:, 0], 11.0))
