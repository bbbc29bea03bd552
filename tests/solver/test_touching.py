import numpy as np
import pytest

from solver.actions import Grasp, Hold, Palpate, Probe, Pull, Release, from_json
from solver.attachments import Attachment
from solver.body import Body
from solver.errors import SolverError
from solver.field import OperativeField
from solver.interactive import Interactive
from solver.verification.blocks import kuhn_block

SIZE = (70.0, 40.0, 30.0)
TUMOUR = np.array([45.0, 20.0, 22.0])


@pytest.fixture(scope="module")
def whole_field():
    organ = kuhn_block(
        SIZE, (14, 8, 6), {1: "liver", 2: "liver_tumour"},
        lambda c: np.where(np.linalg.norm(c - TUMOUR, axis=1) < 8.0, 2, 1).astype(np.uint8),
    )  # fmt: skip
    floor = organ.exterior[(organ.points[organ.exterior][:, :, 2] == 0).all(axis=1)]
    bed = Attachment("bed", floor, 20.0, 20.0)
    return OperativeField(Interactive(Body(organ, attachments=[bed], gravity_mm_s2=(0, 0, 0))))


@pytest.fixture
def field(whole_field):
    whole_field.reset()
    return whole_field


def run(field, *acts):
    for act in acts:
        for frame in act.run(field):
            assert np.isfinite(frame.displacement).all()
    return frame


ACTS = [
    Probe("p", 5.0, structure="liver", towards=(0.0, 0.0, 1.0), force_N=1.0),
    Probe("p", 5.0, point_mm=(1.0, 2.0, 3.0), direction=(0.0, 1.0, 0.0), shaft_mm=100.0, friction=0.2),
    Palpate("p", ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)), depth_mm=3.0),
    Palpate("p", ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), (7.0, 8.0, 9.0)), force_N=0.5, radius_mm=4.0),
]


@pytest.mark.parametrize("act", ACTS)
def test_json_round_trip(act):
    assert from_json(act.to_json()) == act


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            {"act": "probe", "tool": "p", "depth_mm": 0, "point_mm": [0, 0, 0]},
            "depth_mm is 0; it must be pos",
        ),
        ({"act": "probe", "tool": "p", "depth_mm": 5}, "either 'structure' with 'towards', or 'point_mm'"),
        (
            {"act": "probe", "tool": "p", "depth_mm": 5, "point_mm": [0, 0, 0], "direction": [0, 0, 0]},
            "direction of a probe is zero",
        ),
        (
            {"act": "probe", "tool": "p", "depth_mm": 5, "point_mm": [0, 0, 0], "friction": -1},
            "friction is -1",
        ),
        ({"act": "palpate", "tool": "p", "path_mm": [[0, 0, 0]], "depth_mm": 1}, "at least two points"),
        (
            {"act": "palpate", "tool": "p", "path_mm": [[0, 0, 0], [1, 0, 0]]},
            "either 'depth_mm' or 'force_N'",
        ),
        (
            {"act": "palpate", "tool": "p", "path_mm": [[0, 0, 0], [0, 0, 0]], "depth_mm": 1},
            "stands still between",
        ),
    ],
)
def test_bad_data_is_refused(data, words):
    with pytest.raises(SolverError, match=words):
        from_json(data)


def test_a_probe_feels_force_against_depth(field):
    frame = run(field, Probe("p", 6.0, point_mm=(20.0, 15.0, 30.0), duration_s=0.5))
    event = field.events[-1].to_json()
    assert event["kind"] == "probe"
    assert frame.state == "converged"
    assert event["force_N"] == pytest.approx(np.linalg.norm(frame.forces_N["p"]), rel=0.05)
    forces, depths = np.array(event["forces_N"]), np.array(event["depths_mm"])
    assert depths[0] == forces[0] == 0
    assert depths[-1] == pytest.approx(6.0)
    assert (np.diff(forces) > -0.02 * forces[-1]).all()
    assert "N at a depth of 6.0 mm" in event["text"]


def test_a_probe_stops_at_its_force_and_leaves_no_trace(field):
    run(field, Probe("p", 15.0, force_N=0.6, point_mm=(20.0, 20.0, 30.0)))
    event = field.events[-1].values
    assert event["force_N"] == pytest.approx(0.6, rel=0.01)
    assert 1.0 < event["depth_mm"] < 14.0
    assert max(event["forces_N"]) < 0.75
    effort = field.effort.tools["p"]
    run(field, Release("p"), Hold(0.2))
    assert "p" not in field.live.loads
    assert np.abs(field.live.displacement).max() < 0.02
    # Elastic: what the probe has put in, it has got back when it is out.
    assert effort.work_mJ > 1.0
    assert abs(field.effort.tools["p"].work_mJ) < 0.05 * effort.work_mJ
    assert field.effort.tools["p"].path_mm > 2 * event["depth_mm"]


def test_work_of_a_press_is_the_energy_of_the_tissue(field):
    rest = field.live._energy
    run(field, Probe("p", 5.0, point_mm=(20.0, 20.0, 30.0)))
    stored = (field.live._energy - rest) / 1000
    assert field.effort.tools["p"].work_mJ == pytest.approx(stored, rel=0.03)


@pytest.mark.parametrize("how", [{"depth_mm": 3.0}, {"force_N": 0.4}])
def test_a_palpation_finds_what_is_stiff(field, how):
    run(field, Palpate("p", ((12.0, 20.0, 30.0), (60.0, 20.0, 30.0)), duration_s=2.5, **how))
    event = field.events[-1].values
    assert field.events[-1].kind == "palpation"
    assert event["stiffest_mm"][0] == pytest.approx(TUMOUR[0], abs=6.0)
    assert event["stiffest_N_mm"] > 1.3 * event["median_N_mm"]
    if "force_N" in how:
        assert np.median(event["force_N"]) == pytest.approx(0.4, rel=0.05)
    else:
        force, along = np.array(event["force_N"]), np.array(event["along_mm"])
        far = force[np.abs(12.0 + along - TUMOUR[0]) > 20]
        assert force.max() > 1.3 * far.max()


def test_touching_nothing_is_refused(field):
    with pytest.raises(SolverError, match=r"touches nothing at \(20\.0, 20\.0, 80\.0\) mm"):
        Probe("p", 5.0, point_mm=(20.0, 20.0, 80.0), direction=(1.0, 0.0, 0.0)).begin(field)
    with pytest.raises(SolverError, match="Tissue is in the way"):
        Probe("p", 5.0, point_mm=(35.0, 20.0, 29.0), direction=(1.0, 0.0, 0.0)).begin(field)
    assert not field.live.loads
    run(field, Probe("p", 2.0, point_mm=(20.0, 20.0, 30.0), duration_s=0.2))
    with pytest.raises(SolverError, match="'p' is in use already"):
        Probe("p", 2.0, point_mm=(20.0, 20.0, 30.0)).begin(field)


def test_a_state_with_a_probe_comes_back_to_the_same_hash(field):
    run(field, Probe("p", 3.0, point_mm=(20.0, 20.0, 30.0), friction=0.2, duration_s=0.3))
    saved, first = field.snapshot(), field.state_hash()
    run(field, Release("p", 0.2))
    after = field.state_hash()
    assert after != first
    field.restore(saved)
    assert field.state_hash() == first
    run(field, Release("p", 0.2))
    assert field.state_hash() == after


def test_effort_of_a_pull(field):
    run(field, Grasp("g", point_mm=(0.0, 0.0, 30.0)), Pull("g", (0.0, 0.0, 6.0), 0.5))
    effort = field.effort.tools["g"]
    assert effort.path_mm == pytest.approx(6.0)
    assert effort.peak_force_N == pytest.approx(
        np.linalg.norm(field.live._frame(0, 0.0).forces_N["g"]), rel=0.05
    )
    assert effort.work_mJ == pytest.approx(0.5 * 6.0 * effort.peak_force_N, rel=0.2)
    run(field, Release("g"), Hold(0.2), Grasp("g", point_mm=(70.0, 0.0, 30.0)))
    # The way between two grasps is not the tissue's business.
    assert field.effort.tools["g"].path_mm == pytest.approx(6.0)


def test_tissue_beyond_its_strength_is_told_once_for_each_place(field):
    run(field, Grasp("g", point_mm=(0.0, 0.0, 30.0), radius_mm=6.0), Pull("g", (0.0, 0.0, 4.0), 0.2))
    assert not field.events
    run(field, Pull("g", (0.0, 0.0, 14.0), 0.7), Hold(0.2))
    tears = [event for event in field.events if event.kind == "tear"]
    assert 1 <= len(tears) <= 4
    told = field.processes["strength"].told_mm
    assert len(told) == len(tears)
    apart = np.linalg.norm(told[:, None] - told, axis=2) + 100 * np.eye(len(told))
    assert apart.min() >= 10.0
    values = tears[0].values
    assert values["strain"] > values["limit_strain"] == 0.47
    assert values["tool"] == "g"
    assert np.linalg.norm(np.array(values["place_mm"]) - [0, 0, 48]) < 25
    assert "Brunon 2010" in values["source"]
    assert "beyond the 47 ± 29 %" in tears[0].text
    count = len(field.events)
    run(field, Pull("g", (0.0, 0.0, -1.0), 0.1), Pull("g", (0.0, 0.0, 1.0), 0.1))
    assert len(field.events) == count


def test_stretch_of_a_body_that_is_stretched_evenly(field):
    from solver.limits import stretches_around

    live = field.live
    live._u = live.body.reference_points * [0.3, 0.0, -0.1]
    vertices, stretch, _ = stretches_around(field, np.array([0, 50]), np.zeros(0, dtype=int))
    assert len(vertices) > 8
    assert stretch == pytest.approx(1.3)
