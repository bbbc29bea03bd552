import numpy as np
import pytest

from solver.body import Body
from solver.equilibrium import Equilibrium
from solver.errors import SolverError
from solver.materials import ActiveStress, Compressibility, NeoHookean
from solver.tissues import Tissue
from solver.verification.blocks import kuhn_block

ORGAN = kuhn_block(
    (4, 2, 2), (2, 1, 1), {1: "muscle", 2: "fat"}, lambda c: np.where(c[:, 0] < 2, 1, 2).astype(np.uint8)
)
ALONG = np.array([[1.0, 0, 0]])


def body(fibres):
    tissue = Tissue("muscle", NeoHookean(5.0), Compressibility(1e6), 1e-6, "a test")
    return Body(ORGAN, {"muscle": tissue, "fat": tissue}, [], (0, 0, 0), fibres=fibres)


def settled(fibres, load):
    move = np.where(ORGAN.points == 0, 0.0, np.nan)
    held = np.flatnonzero(np.isfinite(move).any(axis=1))
    return Equilibrium(body(fibres), "P2-P1", [load]).solve((held, move[held]), steps=4)


def test_only_the_structures_that_work_shorten():
    fibres = np.broadcast_to(ALONG, (len(ORGAN.tets), 1, 3))
    state = settled(fibres, ActiveStress(2.0, structures=["muscle"]))
    x, u = ORGAN.points[:, 0], state.displacement[:, 0]
    # The interface is held by the half that rests, so that the muscle shortens a little less than when free (0.894).
    assert 0.89 < (2 + u[x == 2].mean()) / 2 < 0.92
    assert (2 + u[x == 4].mean() - u[x == 2].mean()) / 2 == pytest.approx(1.0, abs=0.02)


def test_fibres_may_be_a_function_of_the_place():
    given = settled(np.broadcast_to(ALONG, (len(ORGAN.tets), 1, 3)), ActiveStress(2.0))
    # Any length: directions are made unit vectors.
    asked = settled(lambda points: np.broadcast_to(3 * ALONG, (len(points), 1, 3)), ActiveStress(2.0))
    assert np.allclose(asked.displacement, given.displacement, atol=1e-8)
    longer = settled(np.broadcast_to(3 * ALONG, (len(ORGAN.tets), 1, 3)), ActiveStress(2.0))
    assert np.allclose(longer.displacement, given.displacement, atol=1e-8)


def test_a_body_without_fibres_cannot_pull():
    with pytest.raises(SolverError, match="pulls along fibre family 0 and the body has 0"):
        Equilibrium(body(None), "P2-P1", [ActiveStress(1.0)])
    with pytest.raises(SolverError, match=r"The fibre function gives shape \(\d+, 3\)"):
        Equilibrium(body(lambda points: points), "P2-P1", [ActiveStress(1.0)])
    with pytest.raises(SolverError, match="directions without a length"):
        Equilibrium(body(lambda points: 0 * points[:, None]), "P2-P1", [ActiveStress(1.0)])
    with pytest.raises(SolverError, match="Fibres have directions without a length"):
        Equilibrium(body(np.full((len(ORGAN.tets), 1, 3), np.nan)), "P2-P1", [ActiveStress(1.0)])
    with pytest.raises(SolverError, match="no structure 'heart'"):
        Equilibrium(
            body(lambda points: 1 + points[:, None]), "P2-P1", [ActiveStress(1.0, structures=["heart"])]
        )
