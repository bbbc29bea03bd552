"""Every installed peer of the benchmark solves the same problem: the reactions agree."""

import numpy as np
import pytest

from benchmarks import peers_block, peers_soft_body, scaling
from solver.verification.blocks import kuhn_block


@pytest.mark.parametrize("name", [name for name in peers_block.SOLVERS if name != peers_block.OURS])
def test_a_peer_finds_our_reaction(name):
    if peers_block.missing(name):
        pytest.skip(f"{peers_block.missing(name)} is not installed")
    theirs = peers_block.measured(name, 2, 300)
    ours = peers_block.our_reaction(
        peers_block.block(2), peers_block.SHEAR_KPA, peers_block.BULK_KPA, peers_block.SHIFT_MM
    )
    assert theirs["reaction_mN"] == pytest.approx(ours, rel=1e-6)
    assert theirs["seconds"] > 0
    assert theirs["megabytes"] > 1


def test_a_peer_that_is_not_installed_is_left_out_and_a_row_says_so(monkeypatch):
    from benchmarks import equilibrium

    monkeypatch.setattr(equilibrium, "CELLS", (1,))
    monkeypatch.setattr(
        equilibrium, "missing", lambda name: "" if name == peers_block.OURS else f"{name}'s package"
    )
    rows = equilibrium.run(lambda stage, share: None)
    left_out = [row.quantity for row in rows if "left out" in row.quantity]
    assert left_out[0] == "CalculiX is left out: CalculiX's package is not installed"
    assert len(left_out) == 3
    assert any("reaction" in row.quantity and row.value > 0 for row in rows)


def test_the_scaling_table_and_picture_come_from_what_was_measured(tmp_path, monkeypatch):
    page = tmp_path / "benchmarks.md"
    page.write_text("before\n" + scaling.BEGIN + "old\n" + scaling.END + "after\n")
    monkeypatch.setattr(scaling, "CASES", ((1, 1), (2, 2)))
    scaling.write(tmp_path)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| 135 | 1 |" in text
    assert "| 675 | 2 |" in text
    assert (tmp_path / "scaling.png").stat().st_size > 1000
    (tmp_path / "scaling.png").unlink()
    drawn = []
    monkeypatch.setattr(scaling, "_draw", lambda results, path: drawn.extend(results) or path.touch())
    scaling.draw(tmp_path)
    assert [(r["unknowns"], r["processes"]) for r in drawn] == [(135, 1), (675, 2)]
    assert all(1.0 < r["megabytes"] < 1e5 for r in drawn)


@pytest.mark.parametrize("name", ["MuJoCo", "Newton"])
def test_a_soft_body_peer_follows_the_same_motion(name, tmp_path, monkeypatch):
    if peers_soft_body.missing(name):
        pytest.skip(f"{peers_soft_body.missing(name)} is not installed")
    problem = tmp_path / "problem.npz"
    peers_soft_body.write_problem(kuhn_block((180.0, 130.0, 100.0), (4, 3, 3)), problem)
    given = np.load(problem)
    result = peers_soft_body.measured(name, problem)
    assert "failed" not in result, result
    last = result["moves"][-1]
    goal = np.tile(peers_soft_body.FRONT * peers_soft_body.PULL_MM, (len(given["held"]), 1))
    assert last[given["held"]] == pytest.approx(goal, abs=0.1)
    assert last[given["clamped"]] == pytest.approx(np.zeros((len(given["clamped"]), 3)), abs=1e-3)
    between = np.setdiff1d(np.arange(len(last)), np.union1d(given["held"], given["clamped"]))
    assert 0 < np.linalg.norm(last[between], axis=1).max() < 3 * peers_soft_body.PULL_MM


def test_a_soft_body_that_is_not_installed_is_left_out_and_a_row_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(
        peers_soft_body, "missing", lambda name: "" if name == peers_soft_body.OURS else f"{name}'s package"
    )
    monkeypatch.setattr(
        "benchmarks.live_scenes.organ_mesh", lambda *_: kuhn_block((180, 130, 100), (4, 3, 3))
    )
    rows = peers_soft_body.rows()
    told = [row.quantity for row in rows if "left out" in row.quantity]
    assert told == [f"{n} is left out: {n}'s package is not installed" for n in ("MuJoCo", "Newton")]
    assert any("mean error" in row.quantity and 0 < row.value < 10 for row in rows)
