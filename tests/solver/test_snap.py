import numpy as np
import pytest

from anatomy.mesh import OrganMesh
from solver import equilibrium
from solver.body import Body
from solver.equilibrium import Equilibrium
from solver.errors import SolverError
from solver.loads import Traction
from solver.materials import Compressibility, NeoHookean
from solver.tissues import Tissue
from solver.verification.blocks import kuhn_block

RISE = 2.5


def arch(traction_kPa):
    flat = kuhn_block((40, 2, 1), (20, 1, 1), {1: "arch"})
    points = flat.points.copy()
    points[:, 2] += RISE * np.sin(np.pi * points[:, 0] / 40) ** 2
    organ = OrganMesh(points, flat.tets, flat.region, flat.structures)
    top = organ.exterior[(flat.points[organ.exterior][:, :, 2] > 0.99).all(axis=1)]
    tissue = Tissue("arch", NeoHookean(100.0), Compressibility(300.0), 1e-6, "test")
    body = Body(organ, {"arch": tissue}, [], (0, 0, 0), patches={"top": top})
    ends = np.flatnonzero((points[:, 0] == 0) | (points[:, 0] == 40))
    solver = Equilibrium(body, "P2", [Traction("top", (0, 0, -traction_kPa))])
    a, b, c = (points[top[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    return organ, area, solver.solve((ends, np.zeros((len(ends), 3))), steps=8)


def test_an_arch_is_followed_down_to_where_it_hangs():
    organ, _, state = arch(0.1)
    middle = np.flatnonzero(np.abs(organ.points[:, 0] - 20) < 1e-9)
    assert (organ.points[middle, 2] + state.displacement[middle, 2]).max() < -2.0
    assert state.residual < 1e-9
    assert state.minimum_jacobian > 0.9


def test_where_the_path_of_equilibria_ends_the_body_comes_to_rest_beyond(monkeypatch):
    _, area, state = arch(0.455)
    assert state.relaxed
    assert state.residual < 1e-9
    assert state.minimum_jacobian > 0.3
    balance = state.reaction_mN.sum(axis=0)
    assert balance == pytest.approx([0, 0, 0.455 * area], abs=1e-5)
    monkeypatch.setattr(equilibrium, "RELAXATIONS", 0)
    with pytest.raises(SolverError, match=r"No equilibrium beyond 9\d.\d% of the load: .* mm"):
        arch(0.455)
