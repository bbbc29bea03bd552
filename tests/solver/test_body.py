import numpy as np
import pytest

from solver.attachments import Attachment, from_anatomy
from solver.backend import compile_form, fem
from solver.body import Body
from solver.errors import SolverError
from solver.materials import Compressibility, NeoHookean
from solver.tissues import Tissue
from solver.verification.blocks import kuhn_block

STILL = (0.0, 0.0, 0.0)


def two_tissues():
    organ = kuhn_block(
        (40, 20, 20),
        (4, 2, 2),
        {1: "liver", 2: "liver_tumour"},
        lambda c: np.where(c[:, 0] < 20, 1, 2).astype(np.uint8),
    )
    return organ, Body(organ, attachments=[], gravity_mm_s2=STILL)


def assembled(body, form):
    return fem.assemble_scalar(compile_form(form))


def test_values_return_to_the_organs_order():
    organ, body = two_tissues()
    assert np.allclose(body.space.tabulate_dof_coordinates(), body.from_organ(organ.points), atol=1e-12)
    assert np.array_equal(body.to_organ(body.from_organ(organ.points)), organ.points)
    assert np.array_equal(body.to_organ(body.from_organ(organ.points).ravel()), organ.points)
    assert np.array_equal(body.to_organ(body.from_organ(organ.points[:, 0])), organ.points[:, 0])
    per_tet = np.arange(len(organ.tets))
    assert np.array_equal(body.cells_to_organ(body.cells_from_organ(per_tet)), per_tet)
    assert np.allclose(body.cells_to_organ(body.rest_volumes), organ.tet_volumes)


def test_each_tetrahedron_has_the_constants_of_its_tissue():
    organ, body = two_tissues()
    bulk = body.cells_to_organ(body.bulk.x.array)
    assert np.allclose(bulk[organ.region == 1], 50 * 2.3)
    assert np.allclose(bulk[organ.region == 2], 50 * 10.1)


def test_energy_of_a_uniform_stretch_is_that_of_the_law():
    organ = kuhn_block((10, 10, 10), (2, 2, 2), {1: "block"})
    tissue = Tissue("block", NeoHookean(3.0), Compressibility(20.0), 1e-6, "test")
    body = Body(organ, {"block": tissue}, [], STILL)
    u = fem.Function(body.space)
    u.x.array[:] = (body.from_organ(organ.points) * [0.2, -0.1, 0.0]).ravel()
    J = 1.2 * 0.9
    expected = 3.0 / 2 * (J ** (-2 / 3) * (1.44 + 0.81 + 1) - 3) + 10.0 * (J - 1) ** 2
    assert assembled(body, body.energy(u)) == pytest.approx(1000 * expected, rel=1e-12)
    averaged = assembled(body, body.energy(u, volumetric="averaged"))
    averaged += body.averaging.energy(body.jacobians(u.x.array))
    assert averaged == pytest.approx(1000 * expected, rel=1e-12)


def test_capsule_stores_membrane_energy_on_the_outer_surface_only():
    organ, body = two_tissues()
    u = fem.Function(body.space)
    u.x.array[:] = (body.from_organ(organ.points) * 0.1).ravel()
    bare = {
        name: Tissue(name, t.law, t.compressibility, t.density_kg_mm3, t.source)
        for name, t in body.tissues.items()
    }
    other = Body(organ, bare, [], STILL)
    v = fem.Function(other.space)
    v.x.array[:] = u.x.array
    without = assembled(other, other.energy(v))
    stiffness = 2740.0 * 0.02
    area = 2 * (40 * 20 + 40 * 20 + 20 * 20)
    per_area = stiffness / 2 * (2 * 1.21 + 1.1**-4 - 3)
    assert assembled(body, body.energy(u)) - without == pytest.approx(area * per_area, rel=1e-10)


def test_attachment_stores_normal_and_tangential_energy():
    organ = kuhn_block((10, 10, 10), (2, 2, 2))
    top = organ.exterior[(organ.points[organ.exterior][:, :, 2] > 9.99).all(axis=1)]
    body = Body(organ, attachments=[Attachment("top", top, 0.5, 0.2)], gravity_mm_s2=STILL)
    u = fem.Function(body.space)
    u.x.array.reshape(-1, 3)[:] = [3.0, 4.0, 2.0]
    assert assembled(body, body.support_energy(u)) == pytest.approx(
        100 * (0.5 / 2 * 4 + 0.2 / 2 * 25), rel=1e-12
    )
    body.release("top")
    assert assembled(body, body.support_energy(u)) == 0.0
    assert body.attachments[0].released


def test_gravity_works_on_the_mass():
    organ = kuhn_block((10, 10, 10), (1, 1, 1))
    body = Body(organ, attachments=[], gravity_mm_s2=(0, 9810, 0))
    u = fem.Function(body.space)
    u.x.array.reshape(-1, 3)[:] = [0.0, 2.0, 0.0]
    assert assembled(body, body.gravity_work(u)) == pytest.approx(1000 * 1.06e-6 * 9810 * 2, rel=1e-12)
    assert body.mass_kg == pytest.approx(1.06e-3)


def test_a_piece_that_nothing_holds_is_named_with_its_free_mode():
    organ = kuhn_block((10, 10, 10), (2, 2, 2))
    with pytest.raises(SolverError, match=r"liver \(48 tetrahedra\) is not held against translation"):
        Body(organ, attachments=[]).check_supported()
    edge = np.flatnonzero((organ.points[:, 0] < 0.1) & (organ.points[:, 1] < 0.1))
    with pytest.raises(SolverError, match=r"rotation about the z \(head-foot\) axis through x 0, y 0"):
        Body(organ, attachments=[]).check_supported(edge)
    face = np.flatnonzero(organ.points[:, 0] < 0.1)
    Body(organ, attachments=[]).check_supported(face)


def test_bad_input_is_refused_with_one_sentence():
    organ = kuhn_block((10, 10, 10), (1, 1, 1), {1: "appendix"})
    with pytest.raises(SolverError, match="No published tissue is known for the structure 'appendix'"):
        Body(organ)
    liver = kuhn_block((10, 10, 10), (2, 2, 2))
    with pytest.raises(SolverError, match="which the mesh does not have"):
        Body(liver, {"spleen": None})
    inside = Attachment("inside", liver.tets[:3, :3], 1.0, 1.0)
    with pytest.raises(SolverError, match="are not on the outer surface"):
        Body(liver, attachments=[inside])
    with pytest.raises(SolverError, match="Gravity is"):
        Body(liver, attachments=[], gravity_mm_s2=(0, 1))
    with pytest.raises(SolverError, match="There is no attachment 'tail'"):
        Body(liver, attachments=[]).release("tail")
    with pytest.raises(SolverError, match="stiffness -1"):
        Attachment("a", liver.exterior[:1], -1.0, 0.0)


def test_a_liver_hangs_by_its_ligaments():
    organ = kuhn_block((200, 140, 120), (10, 7, 6))
    found = {a.name: a for a in from_anatomy(organ)}
    assert set(found) == {
        "inferior vena cava",
        "coronary ligament",
        "right triangular ligament",
        "left triangular ligament",
        "falciform ligament",
        "hepatoduodenal ligament",
        "diaphragm",
    }
    centre = {name: organ.points[a.facets].mean(axis=(0, 1)) for name, a in found.items()}
    # LPS: right is low x, front is low y, head is high z.
    assert centre["right triangular ligament"][0] < centre["coronary ligament"][0] < 130
    assert centre["left triangular ligament"][0] > 180
    assert centre["coronary ligament"][1] > 100
    assert centre["coronary ligament"][2] > 60
    assert centre["falciform ligament"][1] < 70
    assert all(a.source for a in found.values())
    rows = [tuple(sorted(f)) for a in found.values() for f in a.facets.tolist()]
    assert len(rows) == len(set(rows))


def test_neighbours_lie_in_fat():
    organ = kuhn_block(
        (80, 20, 20),
        (8, 2, 2),
        {1: "kidney_right", 2: "spleen"},
        lambda c: np.where(c[:, 0] < 40, 1, 2).astype(np.uint8),
    )
    names = [a.name for a in Body(organ).attachments]
    assert names == ["fat around kidney_right", "fat around spleen"]
