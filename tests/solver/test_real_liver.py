import numpy as np
import pytest

from anatomy.labels import LabelMap
from anatomy.meshing import mesh_labels
from solver.body import Body
from solver.equilibrium import Equilibrium
from solver.unloaded import unload


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
