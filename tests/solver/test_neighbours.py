import numpy as np
import pytest
import SimpleITK

from anatomy.labels import LabelMap
from anatomy.meshing import mesh_labels
from solver.attachments import Attachment
from solver.body import Body
from solver.errors import SolverError
from solver.interactive import Interactive
from solver.neighbours import FixedNeighbour
from solver.rigid import Plane, Sphere
from solver.verification.blocks import kuhn_block


@pytest.fixture(scope="module")
def module_live():
    organ = kuhn_block((60, 30, 30), (8, 4, 4))
    wall = organ.exterior[(organ.points[organ.exterior][:, :, 0] == 0).all(axis=1)]
    return Interactive(
        Body(organ, attachments=[Attachment("wall", wall, 20.0, 20.0)], gravity_mm_s2=(0, 0, 0))
    )


@pytest.fixture
def live(module_live):
    module_live.reset()
    return module_live


@pytest.mark.parametrize("shape", [Plane((0, 0, -1.0), (0, 0, 1)), Sphere((50.0, 15.0, -20.0), 20.5)])
def test_forces_and_stiffness_are_derivatives(live, shape):
    neighbour = FixedNeighbour.of("bone", live.body, shape)
    rng = np.random.default_rng(0)
    x = live.positions - [0, 0, 1.5] + 0.2 * rng.normal(size=live.positions.shape)
    direction, h = rng.normal(size=x.shape), 1e-6
    ahead, behind = (neighbour.evaluate(x + s * h * direction) for s in (1, -1))
    energy, gradient = neighbour.evaluate(x)
    assert energy > 0
    assert (ahead[0] - behind[0]) / (2 * h) == pytest.approx(float(np.vdot(gradient, direction)), rel=1e-6)
    if isinstance(shape, Plane):
        vertices, blocks = neighbour.stiffness(x)
        change = ((ahead[1] - behind[1]) / (2 * h))[vertices]
        assert np.einsum("kij,kj->ki", blocks, direction[vertices]) == pytest.approx(
            change, rel=1e-4, abs=1e-4
        )


def test_what_lies_on_a_neighbour_is_without_force_and_can_leave_it(live):
    live.add_load("bone", FixedNeighbour.of("bone", live.body, Plane((0, 0, 0.3), (0, 0, 1))))
    frame = live.settle(1e-3)
    assert np.abs(frame.displacement).max() < 1e-3
    live.grasp("grasper", [60.0, 15.0, 30.0], 8.0)
    live.move("grasper", [60.0, 15.0, 36.0])
    frame = live.settle(1e-3)
    assert np.abs(frame.forces_N["bone"]).max() < 0.05 * frame.forces_N["grasper"][2]
    assert frame.displacement[:, 2].max() > 5.9


def test_what_is_pressed_on_a_neighbour_is_stopped(live):
    plane = FixedNeighbour.of("bone", live.body, Plane((0, 0, 0), (0, 0, 1)))
    moved = {}
    for name in ("free", "stopped"):
        live.reset()
        if name == "stopped":
            live.add_load("bone", plane)
        live.grasp("grasper", [60.0, 15.0, 30.0], 8.0)
        for k in range(1, 9):
            live.move("grasper", [60.0, 15.0, 30.0 - 0.75 * k])
            live.step(iterations=4)
        frame = live.settle(1e-3, iterations=100)
        moved[name] = frame.forces_N["grasper"][2]
    assert moved["stopped"] < 1.5 * moved["free"] < 0
    # What the grasper presses and the wall does not carry, the neighbour does.
    assert frame.forces_N["bone"][2] > 0.3 * -moved["stopped"]
    assert plane.depth_mm(live.positions) < 0.5


def test_a_kidney_lies_on_the_muscles_of_the_back(shared_scans):
    labels = LabelMap.read(shared_scans / "abdomen_ct" / "labels_v1.nii.gz")
    organ = mesh_labels(labels.select(["kidney_right"]), edge_mm=12.0)
    upright = SimpleITK.DICOMOrient(labels.image, "LPS")
    values = np.swapaxes(SimpleITK.GetArrayFromImage(upright), 0, 2)
    back = [v for v, n in labels.names.items() if n.startswith(("vertebrae", "autochthon", "iliopsoas"))]
    body = Body(organ, gravity_mm_s2=(0, 0, 0))
    near = FixedNeighbour.of_mask(
        "back", body, np.isin(values, back), upright.GetOrigin(), upright.GetSpacing()
    )
    assert near.evaluate(organ.points)[0] == 0
    # Carried 10 mm backwards the kidney is in the muscles, which push it to the front; to the front it is free.
    pushed = near.forces_N(organ.points + np.array([0, 10.0, 0]))["back"]
    assert pushed[1] < -abs(pushed[2])
    assert pushed[1] < -1.0
    assert np.linalg.norm(near.forces_N(organ.points - np.array([0, 5.0, 0]))["back"]) < 0.02 * -pushed[1]


def test_a_neighbour_that_is_not_there_is_refused(live):
    mask = np.zeros((8, 8, 8), dtype=bool)
    with pytest.raises(SolverError, match="mask of the neighbour 'spine' is empty"):
        FixedNeighbour.of_mask("spine", live.body, mask, (0, 0, 0), 1.0)
    mask[2:5, 2:5, 2:5] = True
    with pytest.raises(SolverError, match="nowhere within 60 mm"):
        FixedNeighbour.of_mask("spine", live.body, mask, (500, 0, 0), 1.0)
