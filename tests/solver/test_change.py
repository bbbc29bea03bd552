"""The live tissue through a change of topology."""

import numpy as np
import pytest

from anatomy.mesh import OrganMesh
from solver.actions import Release
from solver.attachments import Attachment
from solver.body import Body
from solver.equilibrium import Equilibrium
from solver.errors import SolverError
from solver.field import OperativeField
from solver.interactive import Interactive
from solver.live_error import reference_error
from solver.verification.blocks import kuhn_block
from tests.solver.opened import opened_at

SIZE, CELLS = (60.0, 20.0, 20.0), (12, 4, 4)


def bar(organ=None, gravity=(0.0, 0.0, 0.0)):
    """A bar that stands out of a wall."""
    organ = organ or kuhn_block(SIZE, CELLS)
    wall = organ.exterior[(organ.points[organ.exterior][:, :, 0] < 1e-9).all(axis=1)]
    return Body(organ, attachments=[Attachment("wall", wall, 50.0, 50.0)], gravity_mm_s2=gravity)


@pytest.fixture(scope="module")
def live():
    return Interactive(bar(gravity=(0.0, 500.0, 0.0)))


@pytest.fixture(autouse=True)
def _rested(request):
    if "live" in request.fixturenames:
        request.getfixturevalue("live").reset()


def pull(live, way=(6.0, 0.0, 0.0)):
    end = np.array([60.0, 10.0, 10.0])
    live.grasp("jaws", end, 15.0)
    live.move("jaws", end + np.asarray(way))
    return live.settle(1e-4)


def test_a_body_builds_no_forms_until_they_are_asked_for(live):
    live.change(opened_at(live.body.organ, 30.0, 10.0))
    assert "domain" not in live.body.__dict__
    assert live.body.mesh.topology.index_map(3).size_global == len(live.body.organ.tets)


def test_cut_faces_are_raw_and_the_rest_keeps_what_it_had():
    body = bar()
    change = opened_at(body.organ, 30.0, 10.0)
    after = body.changed(change)
    area = change.cut_area_mm2
    assert area == pytest.approx(10 * 20)
    assert len(after.raw) == len(change.raw)
    assert after.grown.sum() == len(after.organ.exterior) - len(change.raw) == len(body.organ.exterior)
    # The liver's capsule covers what has grown and nothing else, in both tiers.
    assert sum(len(facets) for _, facets in after._capsules) == len(body.organ.exterior)
    again = after.changed(opened_at(after.organ, 45.0, 10.0))
    assert len(again.raw) == 2 * len(change.raw)
    assert len(again.attachments[0].facets) == len(body.attachments[0].facets)


def test_a_cut_bar_in_tension_is_the_bar_that_was_meshed_cut(live):
    """Half through: the gap opens as that of a bar that had the notch from the beginning, and as the reference says."""
    pull(live)
    whole = live.step(iterations=0).forces_N["jaws"]
    live.change(opened_at(live.body.organ, 30.0, 10.0))
    frame = live.settle(1e-4)
    assert frame.topology == live.topology > 0
    assert 0 < frame.forces_N["jaws"][0] < 0.9 * whole[0]
    organ = live.body.organ
    meshed = OrganMesh(organ.points, organ.tets, organ.region, organ.structures)
    notched = bar(meshed, gravity=(0.0, 500.0, 0.0))
    held = live.held_by("jaws")
    found = Equilibrium(notched.on_reference(live.body.reference_points), "P1-averaged").solve(
        prescribed=(held, live.displacement[held])
    )
    # The notched body has a capsule on the faces of its notch, which the cut one has not.
    raw = live.body
    found_raw = Equilibrium(raw, "P1-averaged").solve(prescribed=(held, live.displacement[held]))
    opening = np.abs(found_raw.displacement).max()
    assert np.abs(found_raw.displacement - live.displacement).max() < 2e-3 * opening
    assert np.abs(found.displacement - live.displacement).max() > 2e-3 * opening
    assert reference_error(live)[1] < 1e-3


def test_undo_of_a_change_restores_the_same_bits(live):
    pull(live)
    before = live.snapshot()
    first = live.step(iterations=3)
    live.restore(before)
    live.change(opened_at(live.body.organ, 30.0, 10.0))
    live.step(iterations=3)
    live.restore(before)
    assert live.topology == before.topology
    assert len(live.body.organ.points) == len(first.displacement)
    again = live.step(iterations=3)
    assert np.array_equal(first.displacement, again.displacement)
    assert first.forces_N["jaws"] == pytest.approx(again.forces_N["jaws"], abs=0)


def test_two_replays_of_a_change_end_in_the_same_bits(live):
    ends = []
    for _ in range(2):
        live.reset()
        live.grasp("jaws", [60.0, 10.0, 10.0], 15.0)
        for k in range(6):
            live.move("jaws", [60.0 + k, 10.0, 10.0])
            if k == 3:
                live.change(opened_at(live.body.organ, 30.0, 10.0))
            live.step(iterations=2)
        ends.append(live.displacement)
    assert np.array_equal(*ends)


def test_frames_go_on_while_a_change_is_made_ready(live):
    """What the tools did in the meantime is in the state the change is adopted with."""
    pull(live)
    change, succeed = opened_at(live.body.organ, 30.0, 10.0), live.successor_maker()
    waiting = live.beside(lambda: succeed(change, None))
    live.move("jaws", [68.0, 10.0, 10.0])
    assert live.step(budget_s=0.01).topology == 0
    live.adopt(waiting.result())
    frame = live.settle(1e-4)
    assert frame.topology == live.topology > 0
    held = live.held_by("jaws")
    assert frame.displacement[held, 0] == pytest.approx(8.0, abs=1e-3)
    assert reference_error(live)[1] < 1e-3


def test_a_change_of_another_mesh_is_refused_and_the_tissue_goes_on(live):
    change = opened_at(kuhn_block(SIZE, CELLS), 30.0, 10.0)
    with pytest.raises(SolverError, match="another mesh"):
        live.change(change)
    with pytest.raises(SolverError, match="not held"):
        live.change(opened_at(live.body.organ, 30.0))
    assert live.topology == 0
    assert live.step(iterations=1).state == "converged"


def test_a_tool_holds_both_sides_of_a_cut_through_its_patch(live):
    live.grasp("jaws", [30.0, 0.0, 10.0], 8.0)
    before = len(live.held_by("jaws"))
    live.change(opened_at(live.body.organ, 30.0, 10.0))
    assert len(live.held_by("jaws")) > before
    live.move("jaws", [30.0, -3.0, 10.0])
    frame = live.settle()
    assert frame.displacement[live.held_by("jaws"), 1] == pytest.approx(-3.0, abs=0.01)
    live.loosen("jaws", 0.5)
    assert np.isfinite(live.settle().forces_N["jaws"]).all()
    live.release("jaws")
    live.settle()


def test_what_was_divided_is_whole_again_after_undo():
    organ = kuhn_block(SIZE, CELLS)
    x = organ.points[organ.exterior][:, :, 0]
    walls = [
        Attachment("wall", organ.exterior[(x < 1e-9).all(axis=1)], 50.0, 50.0),
        Attachment("band", organ.exterior[(x > 59.9).all(axis=1)], 1.0, 1.0),
    ]
    live = Interactive(Body(organ, attachments=walls, gravity_mm_s2=(0, 2000, 0)))
    before = live.snapshot()
    live.hold_by([a.release() if a.name == "band" else a for a in live.body.attachments])
    sagged = live.settle().displacement
    live.restore(before)
    assert not any(a.released for a in live.body.attachments)
    assert np.abs(live.settle().displacement).max() < 0.1 * np.abs(sagged).max()


def test_what_nothing_holds_any_more_becomes_a_specimen():
    organ = kuhn_block(SIZE, CELLS)
    number = np.arange(len(organ.tets))
    field = OperativeField(
        Interactive(bar(organ, gravity=(0.0, 500.0, 0.0))),
        tet_data={"number": number},
        vertex_data={"temperature_C": organ.points[:, 0], "node": np.arange(len(organ.points))},
    )
    before, started = field.state_hash(), field.snapshot()
    field.change(opened_at(organ, 40.0))
    (out,) = field.specimens
    assert out.volume_ml == pytest.approx(20 * 20 * 20 / 1000, rel=1e-9)
    assert out.volume_ml + field.organ.tet_volumes.sum() / 1000 == pytest.approx(24.0, rel=1e-12)
    assert field.events[-1].kind == "specimen"
    assert field.events[-1].values["share_percent"] == pytest.approx(100 / 3)
    # What was known of tetrahedra and vertices has followed, on both.
    assert np.array_equal(np.sort(np.r_[field.tet_data["number"], out.tet_data["number"]]), number)
    assert np.array_equal(field.vertex_data["temperature_C"], field.organ.points[:, 0])
    assert np.array_equal(out.vertex_data["temperature_C"], out.organ.points[:, 0])
    assert np.array_equal(organ.points[field.vertex_data["node"]], field.organ.points)
    frame = field.step(iterations=10)
    assert frame.state == "converged"
    assert len(frame.displacement) == len(field.organ.points)
    assert reference_error(field.live)[1] < 1e-2
    field.restore(started)
    assert field.state_hash() == before
    with pytest.raises(SolverError, match="whole organ"):
        field.change(None, np.ones(len(organ.tets), dtype=bool))
    # The part at the wall holds all: without it nothing would be left that is held.
    with pytest.raises(SolverError, match="Nothing would hold"):
        field.change(opened_at(organ, 40.0), organ.points[organ.tets].mean(axis=1)[:, 0] < 40)
    assert field.state_hash() == before


def test_a_piece_in_the_jaws_stays_until_they_open():
    organ = kuhn_block(SIZE, CELLS)
    field = OperativeField(Interactive(bar(organ)))
    field.live.grasp("jaws", [60.0, 10.0, 10.0], 15.0)
    field.change(opened_at(organ, 40.0))
    assert not field.specimens
    field.live.move("jaws", [66.0, 10.0, 10.0])
    field.step(iterations=5)
    apart = field.live.positions[field.live.body.components != field.live.body.components[0]]
    assert apart[:, 0].min() == pytest.approx(46.0, abs=0.1)
    for _ in Release("jaws", 0.2).run(field):
        pass
    assert len(field.specimens) == 1
    assert field.specimens[0].displacement[:, 0] == pytest.approx(6.0, abs=0.1)
    assert not field.live.body.components.any()
    assert not field.live.tools


def test_in_real_time_frames_go_on_until_the_change_is_ready():
    organ = kuhn_block(SIZE, CELLS)
    field = OperativeField(Interactive(bar(organ)), tet_data={"number": np.arange(len(organ.tets))})
    field.live.grasp("jaws", [60.0, 10.0, 10.0], 15.0)
    field.step(budget_s=0.01)
    field.change(opened_at(organ, 30.0, 10.0))
    assert field.live.topology == 0
    waiting = field.snapshot()
    seen = []
    while not field.live.topology:
        field.live.move("jaws", [60.0 + 0.1 * len(seen), 10.0, 10.0])
        seen.append(field.step(budget_s=0.01))
    assert len(field.tet_data["number"]) == len(field.organ.tets)
    assert seen[-1].topology == field.live.topology
    # A state with a change under way is one with the change done.
    field.restore(waiting)
    assert field.live.topology > 0
    assert field.live.position_of("jaws")[0] == 60.0
    field.reset()
    assert field.organ is organ


def test_going_back_to_where_an_impossible_cut_was_under_way_tells_its_refusal():
    field = OperativeField(Interactive(bar()))
    field.step(budget_s=0.01)

    def making():
        raise SolverError("The cut misses the organ.")

    field.cut(making)
    under_way = field.snapshot()
    field.finish()
    assert [event.kind for event in field.events] == ["refused"]
    field.restore(under_way)
    assert [event.kind for event in field.events] == ["refused"]
    assert field.step(iterations=1).topology == 0
