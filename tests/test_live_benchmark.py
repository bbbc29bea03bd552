"""The benchmark of the live tier on blocks small enough for a test: its errors are those of what it compares."""

import pytest

from benchmarks import interactive, live_discretisation
from solver import Body, Interactive
from solver.verification.blocks import kuhn_block

SIZE_MM = (160.0, 130.0, 100.0)


def test_the_live_element_is_nearer_to_the_truth_than_plain_tetrahedra(monkeypatch):
    meshes = {
        300: kuhn_block(SIZE_MM, (5, 4, 3)),
        live_discretisation.COARSE_TETS: kuhn_block(SIZE_MM, (2, 2, 2)),
    }
    monkeypatch.setattr(live_discretisation, "organ_mesh", lambda organ, tets: meshes[tets])
    monkeypatch.setattr(live_discretisation, "INSTANTS", 2)
    monkeypatch.setattr("benchmarks.live_scenes.PULL_MM", 8.0)
    rows = {row.quantity: row.value for row in live_discretisation.rows(tets=300)}
    mean = {
        kind: next(v for k, v in rows.items() if kind in k and "mean over vertices" in k)
        for kind in ("live element", "plain linear", "quadratic")
    }
    assert 0 < mean["live element"] < mean["plain linear"]
    assert 0 < mean["quadratic"] < 2.0


def test_frames_of_a_movement_are_timed_and_near_their_converged_states():
    block = kuhn_block(SIZE_MM, (5, 4, 3))
    movement = interactive.palpation(block)
    rows = {
        row.quantity: row.value
        for row in interactive.moved(Interactive(Body(block)), movement, 30, "block", confirm=True)
    }
    assert rows["block: frames a second, median"] > 0
    assert rows["block: iteration error, mean over vertices, worst of ten instants"] < 0.1
    confirmed = next(value for name, value in rows.items() if "independent Newton" in name)
    assert confirmed == pytest.approx(0.0, abs=0.02)
