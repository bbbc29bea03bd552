import numpy as np
import pytest

from anatomy.labels import LabelMap
from anatomy.meshing import mesh_labels
from sample_scans import bundled_rehearsal
from solver.body import Body
from solver.equilibrium import Equilibrium
from solver.field import OperativeField
from solver.interactive import Interactive
from solver.live_error import reference_error
from solver.unloaded import unload
from twin.rehearsal import Rehearsal


@pytest.fixture(scope="module")
def liver(shared_scans):
    labels = LabelMap.read(shared_scans / "abdomen_ct" / "labels_v1.nii.gz")
    return Body(mesh_labels(labels.select(["liver", "inferior_vena_cava"]), edge_mm=14.0))


def test_ligaments_lie_where_they_belong(liver):
    organ = liver.organ
    centre = {a.name: organ.points[a.facets].mean(axis=(0, 1)) for a in liver.attachments}
    middle = organ.points[organ.vertices_of("liver")].mean(axis=0)
    cava = organ.points[organ.vertices_of("inferior_vena_cava")].mean(axis=0)
    assert np.abs(centre["falciform ligament"][0] - cava[0]) < 30
    assert centre["falciform ligament"][1] < middle[1] < centre["coronary ligament"][1]
    assert centre["coronary ligament"][0] < cava[0] < centre["left triangular ligament"][0]
    assert centre["right triangular ligament"][0] < centre["coronary ligament"][0]
    assert centre["coronary ligament"][2] > middle[2]


def test_the_scan_is_the_organ_under_gravity(liver):
    free = unload(liver)
    assert 1.0 < np.linalg.norm(free.scanned_displacement, axis=1).max() < 30.0
    state = Equilibrium(free, "P1-averaged").solve()
    assert np.linalg.norm(state.displacement, axis=1).max() < 0.1


def test_bundled_rehearsals_of_gas_tilt_and_mobilisation_run_on_a_real_liver(liver):
    field = OperativeField(Interactive(liver))
    start = field.state_hash()
    for name in ("insufflation_and_tilt", "mobilised_left_lobe"):
        field.reset()
        moved = 0.0
        for act in Rehearsal.read(bundled_rehearsal(name)).actions:
            for frame in act.run(field, frame_s=0.1):
                moved = max(moved, float(np.linalg.norm(frame.displacement, axis=1).max()))
        assert 1.0 < moved < 40.0
        assert not [event for event in field.events if event.kind in ("refused", "tear")]
        field.live.settle()
        assert reference_error(field.live)[1] < 0.05
    field.reset()
    assert field.state_hash() == start
