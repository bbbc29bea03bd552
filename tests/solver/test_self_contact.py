import numpy as np
import pytest

import solver.self_contact
from solver.attachments import Attachment
from solver.body import Body
from solver.field import OperativeField
from solver.interactive import Interactive
from solver.self_contact import SelfContact
from solver.verification.blocks import kuhn_block
from tests.solver.opened import opened_at

SIZE = (60.0, 20.0, 20.0)


def cut_block(upto=np.inf):
    """A beam held at both ends, opened across its middle; the right end can be moved by a grasper."""
    organ = kuhn_block(SIZE, (12, 4, 4))
    corners = organ.points[organ.exterior][:, :, 0]
    ends = organ.exterior[((corners == 0).all(axis=1)) | ((corners == SIZE[0]).all(axis=1))]
    live = Interactive(Body(organ, attachments=[Attachment("ends", ends, 5.0, 5.0)], gravity_mm_s2=(0, 0, 0)))
    live.change(opened_at(live.body.organ, 30.0, upto))
    return live


@pytest.fixture(scope="module")
def module_live():
    live = cut_block()
    live.settle(1e-3)
    return live, live.snapshot()


@pytest.fixture
def live(module_live):
    live, rest = module_live
    live.restore(rest)
    return live


def sides(live):
    """Vertices of the cut face left and right of it."""
    raw = live.body.raw
    points, organ = live.body.organ.points, live.body.organ
    of_tet = organ.points[organ.tets].mean(axis=1)[:, 0]
    right = np.zeros(len(points), dtype=bool)
    right[organ.tets[of_tet > 30.0]] = True
    vertices = np.unique(raw)
    return vertices[~right[vertices]], vertices[right[vertices]]


def overlap(live):
    """How far the left face has come beyond the right one, mm, vertex by vertex."""
    left, right = sides(live)
    points, now = live.body.organ.points, live.positions
    order = [np.lexsort(points[v].T) for v in (left, right)]
    assert np.array_equal(points[left[order[0]]], points[right[order[1]]])
    return now[left[order[0]], 0] - now[right[order[1]], 0]


def test_forces_and_stiffness_are_derivatives_and_in_balance(live):
    left, _ = sides(live)
    contact = SelfContact.of(live.body).begun(live.positions, 0.0)
    rng = np.random.default_rng(1)
    start = live.positions + 0.05 * rng.normal(size=live.positions.shape)
    start[left, 0] += 0.4
    contact = contact.begun(start, 0.0)
    x = start + 0.05 * rng.normal(size=start.shape)
    direction, h = rng.normal(size=x.shape), 1e-6
    ahead, behind = (contact.evaluate(x + s * h * direction) for s in (1, -1))
    energy, gradient = contact.evaluate(x)
    assert energy > 1.0
    assert (ahead[0] - behind[0]) / (2 * h) == pytest.approx(float(np.vdot(gradient, direction)), rel=1e-5)
    assert gradient.sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-9 * np.abs(gradient).sum())
    vertices, matrix = contact.coupled_stiffness(x)
    assert np.linalg.eigvalsh(matrix).min() > -1e-9 * np.abs(matrix).max()
    change = (contact.evaluate(x + h * direction)[1] - contact.evaluate(x - h * direction)[1]) / (2 * h)
    found = (matrix @ direction[vertices].ravel()).reshape(-1, 3)
    assert found == pytest.approx(change[vertices], abs=1e-5 * np.abs(change).max())


def test_moments_are_in_balance_where_vertices_lie_above_their_feet(live):
    left, _ = sides(live)
    x = live.positions.copy()
    x[left, 0] += 0.4
    gradient = SelfContact.of(live.body).begun(x, 0.0).evaluate(x)[1]
    size = np.abs(np.cross(x, gradient)).sum()
    assert size > 1.0
    assert np.cross(x, gradient).sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-9 * size)


@pytest.mark.parametrize("most_coupled", [0, 120])
def test_faces_that_slide_far_within_a_step_are_pressed_no_harder(live, monkeypatch, most_coupled):
    monkeypatch.setattr(solver.self_contact, "COUPLED_VERTICES", most_coupled)
    left, _ = sides(live)
    contact = SelfContact.of(live.body)
    for shift in (0.0, 5.0, 30.0):
        x = live.positions.copy()
        x[left, 0] += 0.4
        x[left, 1] += shift
        assert contact.overlap_mm(x) == pytest.approx(0.4, rel=1e-6)


def press_together(live):
    live.grasp("grasper", [60.0, 10.0, 10.0], 14.0)
    for k in range(1, 9):
        live.move("grasper", [60.0 - 0.5 * k, 10.0, 10.0])
        live.step(iterations=4)
    return live.settle(1e-3)


def test_a_cut_pressed_shut_does_not_pass_through_itself(live):
    press_together(live)
    assert overlap(live).max() > 1.5
    through = live.displacement
    live.release("grasper")
    live.settle(1e-3)
    live.add_load("cut faces", SelfContact.of(live.body))
    frame = press_together(live)
    assert frame.state == "converged"
    assert overlap(live).max() < 0.1
    # Now the left half is pushed along, and the grasper feels it.
    left, _ = sides(live)
    assert live.displacement[left, 0].mean() < -0.5
    assert np.abs(through[left, 0]).max() < 0.1


def test_faces_that_were_just_cut_are_without_force_and_can_part(live):
    live.add_load("cut faces", SelfContact.of(live.body))
    assert np.abs(live.settle(1e-4).displacement).max() < 1e-3
    live.grasp("grasper", [60.0, 10.0, 10.0], 14.0)
    live.move("grasper", [63.0, 10.0, 10.0])
    live.settle(1e-3)
    left, right = sides(live)
    assert live.displacement[right, 0].min() > 2.0
    assert np.abs(live.displacement[left]).max() < 0.01


def test_a_partial_cut_closes_up_to_its_tip():
    live = cut_block(upto=12.0)
    live.add_load("cut faces", SelfContact.of(live.body))
    frame = press_together(live)
    assert frame.state == "converged"
    assert live.loads["cut faces"].overlap_mm(live.positions) < 0.15


def test_a_field_that_is_asked_to_joins_the_faces_of_its_cuts():
    organ = kuhn_block(SIZE, (12, 4, 4))
    corners = organ.points[organ.exterior][:, :, 0]
    ends = organ.exterior[((corners == 0).all(axis=1)) | ((corners == SIZE[0]).all(axis=1))]
    field = OperativeField(
        Interactive(Body(organ, attachments=[Attachment("ends", ends, 5.0, 5.0)], gravity_mm_s2=(0, 0, 0))),
        cut_faces_touch=True,
    )
    assert not field.live.loads
    before = field.snapshot()
    field.change(opened_at(field.organ, 30.0, 12.0))
    assert len(field.live.loads["cut faces"].facets) == len(field.live.body.raw) > 0
    press_together(field.live)
    assert field.live.loads["cut faces"].overlap_mm(field.live.positions) < 0.15
    field.restore(before)
    assert not field.live.loads
