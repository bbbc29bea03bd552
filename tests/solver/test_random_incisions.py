"""Random incisions in tissue that is held and pulled: it must stay sound whatever is cut."""

import numpy as np
import pytest

from anatomy.labels import LabelMap
from anatomy.meshing import mesh_labels
from solver.actions import Grasp, Incise, Pull
from solver.attachments import Attachment
from solver.body import Body
from solver.errors import SolverError
from solver.field import OperativeField
from solver.interactive import Interactive
from solver.live_tissue import FLOOR_JACOBIAN
from solver.verification.blocks import kuhn_block


def block():
    organ = kuhn_block((120, 60, 60), (12, 6, 6))
    facets, centre = organ.exterior, organ.points[organ.exterior].mean(axis=1)
    attachments = [
        Attachment("wall", facets[centre[:, 0] < 1e-9], 3.0, 3.0),
        Attachment("bed", facets[centre[:, 1] > 60 - 1e-9], 0.3, 0.3),
    ]
    return Body(organ, attachments=attachments)


@pytest.fixture(scope="module")
def real_liver(shared_scans):
    labels = LabelMap.read(shared_scans / "abdomen_ct" / "labels_v1.nii.gz")
    return Body(mesh_labels(labels.select(["liver", "inferior_vena_cava"]), edge_mm=14.0))


def a_stroke(field, rng):
    """A stroke somewhere on the present surface, in any direction, short or long, shallow or deep."""
    exterior, positions = field.organ.exterior, field.live.positions
    middle = positions[exterior[rng.integers(len(exterior))]].mean(axis=0)
    along = rng.normal(size=3)
    along /= np.linalg.norm(along)
    ends = (middle - along * rng.uniform(10.0, 40.0), middle + along * rng.uniform(10.0, 40.0))
    return Incise(
        "scalpel", tuple(tuple(e.tolist()) for e in ends), float(rng.uniform(5, 40)), duration_s=0.2
    )


def operate(field, seed, strokes=10):
    """Cut at random while a tool pulls this way and that; returns how many strokes opened the tissue."""
    rng, total, opened = np.random.default_rng(seed), field.whole_ml, 0
    lowest = field.organ.points[field.organ.points[:, 2].argmin()]
    for _ in Grasp("grasper", point_mm=tuple(lowest.tolist()), radius_mm=15.0).run(field):
        pass
    for _ in range(strokes):
        acts = [Pull("grasper", tuple(rng.uniform(-10.0, 10.0, 3).tolist()), 0.2), a_stroke(field, rng)]
        for act in acts:
            refusal = ""
            try:
                for frame in act.run(field):
                    assert np.isfinite(frame.displacement).all()
                    assert frame.minimum_jacobian > FLOOR_JACOBIAN
                    assert len(frame.displacement) == len(field.organ.points)
                opened += act.act == "incise"
            except SolverError as error:
                refusal = str(error)
            assert not refusal or any(why in refusal for why in ("misses", "opens nothing", "every way"))
        assert field.live.settle().state == "converged"
        kept = field.organ.tet_volumes.sum() / 1000 + sum(out.volume_ml for out in field.specimens)
        assert kept == pytest.approx(total, rel=1e-9)
    return opened


@pytest.mark.parametrize(("seed", "touch"), [(0, True), (1, False)])
def test_a_block_stays_sound_under_random_incisions(seed, touch):
    field = OperativeField(Interactive(block()), cut_faces_touch=touch)
    before, started = field.state_hash(), field.snapshot()
    assert operate(field, seed) >= 6
    field.live.release("grasper")
    field.live.settle()
    field.restore(started)
    assert field.state_hash() == before


def test_a_real_liver_stays_sound_under_random_incisions(real_liver):
    field = OperativeField(Interactive(real_liver))
    assert 5000 < len(field.organ.tets) < 8000
    assert operate(field, 3) >= 6
    grown = len(field.organ.tets)
    field.reset()
    assert operate(field, 3) >= 6
    assert len(field.organ.tets) == grown


def test_an_incision_without_a_tool_comes_to_rest_in_a_few_iterations(real_liver):
    field = OperativeField(Interactive(real_liver), cut_faces_touch=True)
    front = field.live.positions[field.live.positions[:, 1].argmin()]
    ends = tuple(tuple((front + np.array([x, 0.0, 0.0])).tolist()) for x in (-35.0, 35.0))
    for _ in Incise("scalpel", ends, 30.0, duration_s=0.2).run(field):
        pass
    frame = field.live.settle(iterations=15)
    contact = field.live.loads["cut faces"]
    assert frame.state == "converged"
    assert (contact.pair >= 0).sum() > 30
    assert contact.overlap_mm(field.live.positions) < 0.1
