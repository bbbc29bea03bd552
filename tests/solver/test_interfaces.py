"""Tissues that meet at a thousandfold stiffness converge."""

import numpy as np
import pytest

from solver.verification.interfaces import CASES, sheared


@pytest.mark.parametrize(
    ("element", "case"),
    [*(("P1-averaged", c) for c in CASES), *(("P2-P1", c) for c in CASES[1::2])],
    ids=lambda p: getattr(p, "name", p),
)
def test_a_thousandfold_stiffness_takes_no_more_than_a_few_iterations(element, case):
    state = sheared(case, element)
    assert state.iterations <= 12
    assert state.steps == 1
    assert state.residual < 1e-9
    assert state.minimum_jacobian > 0.8
    reactions = state.reaction_mN
    assert np.abs(reactions.sum(axis=0)).max() < 1e-8 * np.abs(reactions).sum()


def test_stiff_parts_carry_what_the_soft_block_does_not():
    pull = {c.name: sheared(c, "P1-averaged").reaction_mN[-25:, 0].sum() for c in CASES}
    # A layer from end to end carries its own share of a thousandfold modulus; an inclusion is only in the way.
    assert pull["one tissue"] < pull["inclusion"] < 2 * pull["one tissue"]
    assert pull["capsule"] > 10 * pull["one tissue"]
    assert pull["layer"] > 100 * pull["one tissue"]
