"""Every mistake that a person can make with a body gets one sentence that says what, where, and what to do."""

import numpy as np
import pytest

from anatomy.errors import AnatomyError
from anatomy.mesh import OrganMesh
from solver.attachments import Attachment
from solver.body import Body
from solver.equilibrium import Equilibrium
from solver.errors import SolverError
from solver.loads import Pressure, Traction
from solver.materials import Compressibility, Guccione, NeoHookean
from solver.tissues import Tissue
from solver.verification.blocks import kuhn_block

STILL = (0.0, 0.0, 0.0)
SOFT = Tissue("block", NeoHookean(2.0), Compressibility(100.0), 1e-6, "test")


def cube(cells=2):
    return kuhn_block((20, 20, 20), (cells, cells, cells), {1: "block"})


def face(organ, axis, at):
    return np.flatnonzero(np.abs(organ.points[:, axis] - at) < 1e-9)


def patch(organ, axis, at):
    return organ.exterior[(np.abs(organ.points[organ.exterior][:, :, axis] - at) < 1e-9).all(axis=1)]


def test_inverted_tetrahedra():
    organ = cube()
    tets = organ.tets.copy()
    tets[5] = tets[5][[1, 0, 2, 3]]
    with pytest.raises(AnatomyError, match="1 of 48 tetrahedra are flat or inverted; reverse two vertices"):
        OrganMesh(organ.points, tets, organ.region, organ.structures)
    folded = organ.points.copy()
    folded[13] += [18, 0, 0]
    with pytest.raises(
        SolverError, match=r"turns 6 of 48 tetrahedra inside out, one at x \d+, y \d+, z \d+ mm"
    ):
        Body(organ, {"block": SOFT}, [], STILL, reference_points=folded)
    folded[13] = np.nan
    with pytest.raises(SolverError, match="stress-free shape has vertices that are not finite"):
        Body(organ, {"block": SOFT}, [], STILL, reference_points=folded)


def test_a_disconnected_piece_that_nothing_holds():
    one = cube(1)
    both = OrganMesh(
        np.vstack([one.points, one.points + np.array([50, 0, 0])]),
        np.vstack([one.tets, one.tets + len(one.points)]),
        np.r_[one.region, one.region + 1],
        {1: "block", 2: "rest"},
    )
    body = Body(both, {"block": SOFT, "rest": SOFT}, [], STILL)
    floor = np.flatnonzero((both.points[:, 2] == 0) & (both.points[:, 0] < 30))
    with pytest.raises(
        SolverError, match=r"piece made of rest \(6 tetrahedra\) is not held against translation"
    ):
        Equilibrium(body, "P1").solve((floor, np.zeros((len(floor), 3))))


def test_the_free_rigid_body_modes_are_named():
    organ = cube()
    body = Body(organ, {"block": SOFT}, [], STILL)
    solver = Equilibrium(body, "P1")
    with pytest.raises(
        SolverError, match=r"translation along the x .* y .* z .* rotation about the x .* y .* z"
    ):
        solver.solve()
    hinge = np.flatnonzero((organ.points[:, 1] == 0) & (organ.points[:, 2] == 0))
    with pytest.raises(
        SolverError, match=r"not held against rotation about the x \(left-right\) axis through x"
    ):
        solver.solve((hinge, np.zeros((len(hinge), 3))))
    pin = [0]
    with pytest.raises(
        SolverError, match=r"against rotation about the x .*, rotation about the y .*, rotation"
    ):
        solver.solve((pin, np.zeros((1, 3))))
    slippery = [Attachment("floor", patch(organ, 2, 0), 1.0, 0.0)]
    with pytest.raises(
        SolverError, match=r"along the x .*, translation along the y .*, rotation about the z"
    ):
        Equilibrium(Body(organ, {"block": SOFT}, slippery, STILL), "P1").solve()
    slanted = face(organ, 2, 0)
    free = np.full((len(slanted), 3), np.nan)
    free[:, 2] = 0
    free[0] = 0
    with pytest.raises(
        SolverError, match=r"not held against rotation about the z \(head-foot\) axis through x 0"
    ):
        solver.solve((slanted, free))


def test_moduli_that_no_tissue_has():
    with pytest.raises(SolverError, match="NeoHookean: mu_kPa is -1; it must be a positive number"):
        NeoHookean(-1.0)
    with pytest.raises(SolverError, match="bulk modulus is -3 kPa; it must be positive"):
        Compressibility(-3.0)


def test_incompressible_tissue_in_a_displacement_form():
    # µ = 2 kPa and ν = 0.499999.
    law, compressibility = NeoHookean(2.0), Compressibility(1e6)
    body = Body(cube(), {"block": Tissue("block", law, compressibility, 1e-6, "test")}, [], STILL)
    for element in ("P1", "P2"):
        with pytest.raises(
            SolverError, match=f"'block' has Poisson's ratio 0.499999 .* '{element}' locks; use"
        ):
            Equilibrium(body, element)
    Equilibrium(body, "P2-P1")


@pytest.mark.parametrize("element", ["P1", "P2-P1"])
def test_a_load_past_the_limit_point_names_its_share_and_the_place(element):
    organ = cube(3)
    body = Body(organ, {"block": SOFT}, [], STILL, patches={"top": patch(organ, 2, 20)})
    floor = face(organ, 2, 0)
    crushing = Equilibrium(body, element, [Traction("top", (0, 0, -8.0))])
    sentence = (
        r"No equilibrium beyond \d+\.\d% of the load: .* in block at x \d+, y \d+, z \d+ mm.*; load or pull"
    )
    with pytest.raises(SolverError, match=sentence):
        crushing.solve((floor, np.zeros((len(floor), 3))))
    bearable = Equilibrium(body, element, [Traction("top", (0, 0, -0.4))])
    assert bearable.solve((floor, np.zeros((len(floor), 3)))).minimum_jacobian > 0.3


def test_fibres_are_directions_and_tissues_with_fibres_need_them():
    organ = kuhn_block(
        (20, 20, 20),
        (2, 2, 2),
        {1: "wall", 2: "rest"},
        lambda c: np.where(c[:, 2] < 10, 1, 2).astype(np.uint8),
    )
    wall = Tissue("wall", Guccione(1.0, 8.0, 2.0, 4.0), Compressibility(50.0), 1e-6, "test")
    floor, roof = face(organ, 2, 0), face(organ, 2, 20)
    move = np.zeros((len(floor) + len(roof), 3))
    move[len(floor) :, 0] = 2.0

    def energy(length, bare):
        fibres = np.zeros((len(organ.tets), 1, 3))
        fibres[:, 0, 0] = length
        fibres[organ.region == bare] = 0.0
        body = Body(organ, {"wall": wall, "rest": SOFT}, [], STILL, fibres=fibres)
        return Equilibrium(body, "P1").solve((np.r_[floor, roof], move)).strain_energy_uJ

    assert energy(3.0, 2) == pytest.approx(energy(1.0, 0), rel=1e-12)
    with pytest.raises(SolverError, match="Fibres have directions without a length"):
        energy(1.0, 1)


def test_loads_that_are_no_numbers():
    with pytest.raises(
        SolverError, match=r"traction on 'top' is \(0, 0, nan\) kPa; give three finite numbers"
    ):
        Traction("top", (0, 0, np.nan))
    with pytest.raises(SolverError, match=r"traction on 'top' is \(1, 2\) kPa"):
        Traction("top", (1, 2))
    with pytest.raises(SolverError, match="pressure on 'top' is inf kPa"):
        Pressure("top", np.inf)
