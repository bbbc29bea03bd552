"""Insufflate, tilt and mobilise against closed forms and the reference tier."""

import numpy as np
import pytest

from solver.actions import Desufflate, Grasp, Hold, Insufflate, Mobilise, Pull, Release, Tilt, from_json
from solver.attachments import Attachment
from solver.body import Body
from solver.equilibrium import Equilibrium
from solver.errors import SolverError
from solver.field import OperativeField
from solver.interactive import Interactive
from solver.loads import Pressure
from solver.materials import Compressibility, NeoHookean
from solver.pneumoperitoneum import KPA_PER_MMHG, Pneumoperitoneum, area_vectors, free_surface
from solver.tissues import Tissue
from solver.topology import TopologyChange
from solver.verification.blocks import kuhn_block
from tests.solver.carrying import carry_out

TISSUE = {"liver": Tissue("plain", NeoHookean(3.0), Compressibility(150.0), 1e-6, "test")}
ORGAN = kuhn_block((60, 30, 30), (6, 3, 3))
CENTRE = ORGAN.points[ORGAN.exterior].mean(axis=1)


def attachments(stiffness=5.0):
    facets = ORGAN.exterior
    return [
        Attachment("wall", facets[CENTRE[:, 0] < 1e-9], stiffness, stiffness),
        Attachment("bed", facets[CENTRE[:, 1] > 30 - 1e-9], 0.6, 0.3),
    ]


@pytest.fixture(scope="module")
def live():
    return Interactive(Body(ORGAN, TISSUE, attachments()))


@pytest.fixture
def field(live):
    return OperativeField(live)


def test_gas_around_the_whole_presses_it_to_the_volume_of_the_closed_form():
    soft = [Attachment("all", ORGAN.exterior, 1e-5, 1e-5)]
    live = Interactive(Body(ORGAN, TISSUE, soft, gravity_mm_s2=(0, 0, 0)))
    pressure = 20 * KPA_PER_MMHG
    live.add_load("gas", Pneumoperitoneum(ORGAN.exterior, ORGAN.exterior[:0], pressure, 0 * live.positions))
    live.settle(1e-5)
    a, b, c, d = (live.positions[ORGAN.tets[:, i]] for i in range(4))
    volume = np.einsum("ij,ij->i", b - a, np.cross(c - a, d - a)) / 6
    # K (J − 1) = −p everywhere, and no shear.
    assert volume / ORGAN.tet_volumes == pytest.approx(1 - pressure / 150.0, abs=2e-5)


def test_pressure_is_that_of_the_reference_tier(field):
    frame = carry_out(field, Insufflate(15.0, 1.0), Hold(1.0))
    assert frame.state == "converged"
    body = field.live.body
    again = Body(
        ORGAN, TISSUE, attachments(), body.gravity_mm_s2, body.reference_points,
        patches={"free": free_surface(body)},
    )  # fmt: skip
    found = Equilibrium(again, "P1-averaged", [Pressure("free", 15 * KPA_PER_MMHG)]).solve()
    assert np.abs(found.displacement).max() > 0.2
    assert np.linalg.norm(found.displacement - field.live.displacement, axis=1).max() < 0.01
    event = field.events[-1].to_json()
    assert event["pressure_mmHg"] == 15.0
    area = np.linalg.norm(area_vectors(free_surface(body), field.live.positions), axis=1).sum()
    assert event["area_cm2"] == pytest.approx(area / 100, rel=0.01)


def test_gas_goes_out_again(field):
    before = field.live.displacement.copy()
    frame = carry_out(field, Insufflate(12.0, 0.5), Insufflate(8.0, 0.2), Desufflate(0.5), Hold(1.0))
    assert not field.live.loads
    assert frame.state == "converged"
    assert np.abs(field.live.displacement - before).max() < 0.02


@pytest.mark.parametrize(
    ("tilt", "gravity"),
    [
        (Tilt(30.0, "reverse trendelenburg", duration_s=0.5), (0, np.cos(np.pi / 6), -0.5)),
        (Tilt(20.0, "trendelenburg", duration_s=0.5), (0, np.cos(np.pi / 9), np.sin(np.pi / 9))),
        (Tilt(45.0, "left side down", duration_s=0.5), (np.sqrt(0.5), np.sqrt(0.5), 0)),
        (Tilt(45.0, axis=(0.0, 0.0, -2.0), duration_s=0.5), (-np.sqrt(0.5), np.sqrt(0.5), 0)),
    ],
    ids=["head up", "head down", "left", "about an axis"],
)
def test_tilted_organ_rests_under_turned_gravity(field, tilt, gravity):
    carry_out(field, tilt, Hold(1.0))
    field.live.settle(1e-4)
    body = field.live.body
    turned = Body(ORGAN, TISSUE, attachments(), 9810 * np.array(gravity), body.reference_points)
    found = Equilibrium(turned, "P1-averaged").solve()
    assert np.abs(found.displacement).max() > 0.3
    assert np.linalg.norm(found.displacement - field.live.displacement, axis=1).max() < 2e-3


def test_turns_add_up(field):
    twice = carry_out(
        field, Tilt(10.0, "left side down", duration_s=0.1), Tilt(15.0, "left side down"), Hold(0.5)
    )
    field.reset()
    once = carry_out(field, Tilt(25.0, "left side down"), Hold(0.5))
    assert twice.displacement == pytest.approx(once.displacement, abs=5e-3)
    with pytest.raises(SolverError, match="tilted by 100° from lying level"):
        carry_out(field, Tilt(75.0, "left side down"))


def test_mobilised_organ_rests_on_what_still_holds_it(field):
    before = field.snapshot()
    at_rest = field.state_hash()
    carry_out(field, Mobilise(("wall",)), Hold(1.0))
    field.live.settle(1e-4)
    body = field.live.body
    bed = Body(ORGAN, TISSUE, attachments()[1:], body.gravity_mm_s2, body.reference_points)
    found = Equilibrium(bed, "P1-averaged").solve()
    assert np.abs(found.displacement).max() > 0.05
    assert np.linalg.norm(found.displacement - field.live.displacement, axis=1).max() < 2e-3
    assert field.events[-1].kind == "mobilised"
    with pytest.raises(SolverError, match="'wall' is divided already"):
        carry_out(field, Mobilise(("wall",)))
    with pytest.raises(SolverError, match=r"Dividing bed would free the organ\. The piece made of liver"):
        carry_out(field, Mobilise(("bed",)))
    with pytest.raises(SolverError, match="no attachment 'falciform' to divide; the organ is held by bed"):
        carry_out(field, Mobilise(("falciform",)))
    field.restore(before)
    assert field.state_hash() == at_rest
    assert not field.live.body.attachments[0].released
    carry_out(field, Hold(0.2))
    assert np.abs(field.live.displacement).max() < 0.02


def test_gas_reaches_what_was_freed(field):
    carry_out(field, Insufflate(10.0, 0.3))
    area = len(field.live.loads["pneumoperitoneum"].facets)
    carry_out(field, Mobilise(("wall",)))
    assert len(field.live.loads["pneumoperitoneum"].facets) == area + (CENTRE[:, 0] < 1e-9).sum()


def test_undo_and_replay_give_the_same_hash(field):
    acts = [
        Insufflate(12.0, 0.5), Tilt(20.0, "reverse trendelenburg", duration_s=0.5), Mobilise(("wall",)),
        Grasp("g", point_mm=(60.0, 0.0, 30.0)), Pull("g", (0.0, -5.0, 5.0), 0.5), Release("g"), Hold(0.3),
    ]  # fmt: skip
    hashes, snapshots = [], []
    for act in acts:
        snapshots.append(field.snapshot())
        hashes.append(field.state_hash())
        carry_out(field, act)
    end = field.state_hash()
    for snapshot, before in zip(reversed(snapshots), reversed(hashes), strict=True):
        field.restore(snapshot)
        assert field.state_hash() == before
    carry_out(field, *acts)
    assert field.state_hash() == end


def test_loads_are_carried_to_another_mesh(live):
    """The block cut in two through its middle plane: every vertex there doubled."""
    right = (ORGAN.points[ORGAN.tets].mean(axis=1)[:, 0] > 30).nonzero()[0]
    middle = np.flatnonzero(ORGAN.points[:, 0] == 30)
    copy = np.arange(len(ORGAN.points))
    copy[middle] = len(ORGAN.points) + np.arange(len(middle))
    tets = ORGAN.tets.copy()
    tets[right] = copy[tets[right]]
    after = type(ORGAN)(np.vstack([ORGAN.points, ORGAN.points[middle]]), tets, ORGAN.region, ORGAN.structures)
    parents = np.r_[np.arange(len(ORGAN.points)), middle]
    raw = after.exterior[(after.points[after.exterior][:, :, 0] == 30).all(axis=1)]
    change = TopologyChange(
        ORGAN, after, np.c_[parents, parents], np.zeros(len(parents)), np.arange(len(tets)), raw
    )
    positions = live.positions
    gas = Pneumoperitoneum.around(live.body, 1.5, positions).carried(change)
    assert len(gas.facets) == len(free_surface(live.body)) + len(raw)
    moved = change.interpolate(positions)
    force = gas.begun(moved, 0.0).evaluate(moved)[1]
    expected = 1.5 * area_vectors(gas.facets, moved).sum(axis=0)
    assert force.sum(axis=0) == pytest.approx(expected, abs=1e-6)
    from solver.posture import Posture

    posture = Posture.level(live.body).under(np.array([0.0, 0.0, -9810.0])).carried(change)
    assert posture.mass_kg.sum() == pytest.approx(live.body.mass_kg)
    assert posture.force_mN.sum(axis=0) == pytest.approx(
        live.body.mass_kg * (np.array([0, 0, -9810.0]) - live.body.gravity_mm_s2)
    )


@pytest.mark.parametrize(
    "act",
    [
        Insufflate(12.0), Desufflate(1.0), Tilt(20.0, "trendelenburg"), Tilt(20.0, axis=(0.0, 1.0, 1.0)),
        Mobilise(("falciform ligament", "left triangular ligament")),
    ],
    ids=lambda a: a.act,
)  # fmt: skip
def test_json_round_trip(act):
    assert from_json(act.to_json()) == act


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"act": "insufflate", "pressure_mmHg": 0}, "pressure_mmHg is 0; it must be positive"),
        ({"act": "insufflate", "pressure_mmHg": -3}, "pressure_mmHg is -3; it must be positive"),
        ({"act": "insufflate", "pressure_mmHg": 31}, "pressure_mmHg is 31.*at most 30"),
        (
            {"act": "tilt", "degrees": 91, "position": "trendelenburg"},
            "degrees is 91; a table tilts by at most 90°",
        ),
        (
            {"act": "tilt", "degrees": 10, "position": "upside down"},
            "'upside down' is unknown; known are reverse tr",
        ),
        ({"act": "tilt", "degrees": 10}, "either 'position' or 'axis'"),
        ({"act": "tilt", "degrees": 10, "axis": [0, 0, 0]}, "axis is zero"),
        ({"act": "mobilise", "attachments": []}, "give a list of names"),
        ({"act": "mobilise", "attachments": "falciform ligament"}, "give a list of names"),
        ({"act": "mobilise", "attachments": [""]}, "A name of an attachment is ''"),
    ],
)
def test_nonsense_is_refused(data, words):
    with pytest.raises(SolverError, match=words):
        from_json(data)


def test_what_cannot_be_done_now_is_refused_and_changes_nothing(field):
    before = field.state_hash()
    with pytest.raises(SolverError, match="no gas in the abdomen to let out"):
        carry_out(field, Desufflate())
    assert field.state_hash() == before


def test_held_all_around_or_without_weight_there_is_nothing_to_press_or_tilt():
    live = Interactive(Body(ORGAN, TISSUE, [Attachment("fat", ORGAN.exterior, 1.0, 1.0)], (0, 0, 0)))
    field = OperativeField(live)
    with pytest.raises(SolverError, match="all of its surface is held by fat; mobilise it first"):
        carry_out(field, Insufflate())
    with pytest.raises(SolverError, match="no weight"):
        carry_out(field, Tilt(10.0, "trendelenburg"))
