import numpy as np
import pytest

from anatomy.mesh import OrganMesh
from solver.actions import Grasp, Pull, from_json
from solver.actions.act import Act
from solver.attachments import Attachment
from solver.body import Body
from solver.effort import Effort
from solver.errors import SolverError
from solver.field import OperativeField
from solver.interactive import Interactive
from solver.limits import StrengthWatch
from solver.live_load import LiveLoad
from solver.pneumoperitoneum import LOAD, Pneumoperitoneum
from solver.topology import TopologyChange
from solver.verification.blocks import kuhn_block


class Spring(LiveLoad):
    """Holds some vertices to where they were, k/2 |x − x₀|²."""

    def __init__(self, vertices, places, stiffness):
        self.vertices, self.places, self.k = vertices, places, stiffness

    def evaluate(self, positions):
        gradient = np.zeros_like(positions)
        away = positions[self.vertices] - self.places
        gradient[self.vertices] = self.k * away
        return 0.5 * self.k * float((away**2).sum()), gradient

    def stiffness(self, positions):
        return self.vertices, np.broadcast_to(self.k * np.eye(3), (len(self.vertices), 3, 3))

    def carried(self, change):
        return self


@pytest.fixture(scope="module")
def live():
    organ = kuhn_block((60, 30, 30), (6, 3, 3))
    wall = organ.exterior[(organ.points[organ.exterior][:, :, 0] < 1e-9).all(axis=1)]
    body = Body(organ, attachments=[Attachment("wall", wall, 20.0, 20.0)], gravity_mm_s2=(0, 0, 0))
    return Interactive(body)


def test_a_load_pulls_with_the_force_the_tissue_answers(live):
    live.reset()
    end = np.flatnonzero(live.body.organ.points[:, 0] > 59.9)
    live.add_load("spring", Spring(end, live.positions[end] + np.array([5.0, 0.0, 0.0]), 50.0))
    frame = live.settle(1e-4)
    assert frame.state == "converged"
    moved = frame.displacement[end, 0].mean()
    # The same end held there by hand answers with the force of the spring.
    pull = live.loads["spring"].evaluate(live.positions)[1][end].sum(axis=0)
    assert 0.2 < moved < 4.8
    wall = (
        live.positions[live.body.organ.points[:, 0] < 1e-9]
        - live.body.organ.points[live.body.organ.points[:, 0] < 1e-9]
    )
    assert abs(pull[0]) > 100 * abs(pull[1])
    assert wall[:, 0].mean() > 0
    before = live.snapshot()
    live.remove_load("spring")
    live.settle(1e-4)
    assert np.abs(live.displacement).max() < 0.01
    live.restore(before)
    assert "spring" in live.loads
    live.reset()
    assert not live.loads
    with pytest.raises(SolverError, match="no load 'spring'"):
        live.remove_load("spring")


def test_a_field_goes_back_to_the_same_hash(live):
    field = OperativeField(live, vertex_data={"temperature_C": np.full(len(live.positions), 37.0)})
    at_rest = field.state_hash()
    before = field.snapshot()
    for _ in Grasp("g", point_mm=(60.0, 0.0, 0.0)).run(field):
        pass
    field.tell("bleeding", "It bleeds.", flow_ml_min=3.0)
    assert field.state_hash() != at_rest
    assert field.events[0].to_json()["flow_ml_min"] == 3.0
    field.restore(before)
    assert field.state_hash() == at_rest
    field.vertex_data["temperature_C"] = np.full(len(live.positions), 38.0)
    assert field.state_hash() != at_rest
    field.reset()
    assert field.state_hash() == at_rest


def test_what_acts_and_goes_on_is_part_of_the_state(live):
    """The same place at the same time under another pressure, or after another way of the tools, is another state."""
    field = OperativeField(live)
    seen = {field.state_hash()}
    for pressure_kPa in (1.0, 1.5):
        live.add_load(LOAD, Pneumoperitoneum.around(live.body, pressure_kPa, live.positions))
        seen.add(field.state_hash())
    live.remove_load(LOAD)
    field.effort = Effort(peak_total_force_N=1.0)
    seen.add(field.state_hash())
    field.reset()
    field.processes["strength"] = StrengthWatch(np.zeros((1, 3)))
    assert len(seen | {field.state_hash()}) == 5
    field.reset()
    assert field.state_hash() in seen


def test_nested_points_of_an_act_come_back_as_they_were():
    act = Pull("g", (1.0, 2.0, 3.0))
    assert from_json(act.to_json()) == act
    assert isinstance(act, Act)


def test_a_change_carries_values_and_finds_parts_of_facets():
    """One tetrahedron bisected at a quarter of an edge."""
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=float)
    before = OrganMesh(points, [[0, 1, 2, 3]], [1], {1: "liver"})
    parents = np.array([[0, 0], [1, 1], [2, 2], [3, 3], [0, 1]])
    weight = np.array([0.0, 0.0, 0.0, 0.0, 0.25])
    after = OrganMesh(np.vstack([points, [[0.25, 0, 0]]]), [[0, 4, 2, 3], [4, 1, 2, 3]], [1, 1], {1: "liver"})
    change = TopologyChange(before, after, parents, weight, np.array([0, 0]), np.zeros((0, 3), int))
    assert np.array_equal(change.interpolate(points), after.points)
    assert np.array_equal(change.of_tets(np.array([7])), [7, 7])
    assert np.array_equal(change.vertices(np.array([1, 3])), [1, 3])
    bottom = change.facets(np.array([[0, 2, 1]]))
    assert {tuple(sorted(f)) for f in bottom.tolist()} == {(0, 2, 4), (1, 2, 4)}
    assert {tuple(sorted(f)) for f in change.facets(np.array([[1, 2, 3]])).tolist()} == {(1, 2, 3)}
