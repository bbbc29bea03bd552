import numpy as np
import pytest

from solver import linear
from solver.body import Body
from solver.equilibrium import Equilibrium
from solver.errors import SolverError
from solver.materials import Compressibility, NeoHookean
from solver.tissues import Tissue
from solver.verification.blocks import kuhn_block


def sheared(cells, element):
    """Equilibrium of the sheared block, and the Krylov iterations of every linear system on the way."""
    organ = kuhn_block((40, 20, 20), (2 * cells, cells, cells), {1: "block"})
    body = Body(
        organ,
        {"block": Tissue("block", NeoHookean(2.0), Compressibility(100.0), 1e-6, "test")},
        [],
        (0, 0, 0),
    )
    x = organ.points[:, 0]
    held = np.flatnonzero((x == 0) | (x == 40))
    move = np.zeros((len(held), 3))
    move[x[held] == 40, 1] = 6.0
    return Equilibrium(body, element).solve((held, move))


@pytest.fixture
def iterative(monkeypatch):
    """Solve everything iteratively; the list fills with (iterations, digits) of each linear system."""
    monkeypatch.setattr(linear, "LARGEST_DIRECT", 0)
    spent = []
    attempt = linear.Iterative._attempt

    def watched(solver, tolerance, iterations, guess=False):
        done = attempt(solver, tolerance, iterations, guess)
        spent.append((solver.last, -np.log10(tolerance)))
        return done

    monkeypatch.setattr(linear.Iterative, "_attempt", watched)
    return spent


@pytest.mark.parametrize("element", ["P1", "P2", "P1-P1", "P2-P1"])
def test_multigrid_gives_the_answer_of_a_factor(element, iterative, monkeypatch):
    by_multigrid = sheared(3, element)
    assert iterative
    monkeypatch.setattr(linear, "LARGEST_DIRECT", 10**9)
    by_factor = sheared(3, element)
    assert np.allclose(by_multigrid.displacement, by_factor.displacement, atol=1e-8)
    assert np.allclose(by_multigrid.reaction_mN, by_factor.reaction_mN, atol=1e-6)


@pytest.mark.parametrize("element", ["P2", "P2-P1"])
def test_iterations_do_not_grow_as_the_mesh_is_refined(element, iterative):
    per_digit = []
    for cells in (3, 6):
        iterative.clear()
        sheared(cells, element)
        iterations, digits = np.sum(iterative, axis=0)
        per_digit.append(iterations / digits)
    # Twice as fine, eight times as many unknowns.
    assert per_digit[1] < 1.4 * per_digit[0]
    assert per_digit[1] < 15


def test_a_system_that_is_not_solved_is_no_answer(iterative, monkeypatch):
    monkeypatch.setattr(linear, "ITERATIONS", 2)
    with pytest.raises(SolverError, match="not solved in 2 iterations"):
        sheared(3, "P2")
