import json
from pathlib import Path

import pytest

from solver.errors import SolverError
from solver.verification import PROBLEMS, Row, block_shear, land, verify
from solver.verification.page import section, write_page


@pytest.mark.parametrize("name", [name for name in PROBLEMS if name not in ("block_shear", "land")])
def test_problem_reproduces_its_numbers(name):
    rows = verify([name])
    assert rows
    assert [r for r in rows if not r.passed] == []


def test_block_shear_agrees_with_three_codes():
    rows = block_shear._rows((*block_shear.QUICK[:1], *block_shear.LINEAR))
    assert [r for r in rows if not r.passed] == []
    assert rows[0].value == pytest.approx(57.4591972, rel=1e-8)


def test_heart_tissue_bends_as_in_the_benchmark():
    # A coarser bar than `organtwin verify` uses; it is half a percent stiffer.
    assert 1 + land.bar(2)[2] == pytest.approx(4.169, rel=0.01)


def test_rows_can_be_written_as_json():
    rows = [row.record() for row in verify(["viscoelastic"])]
    assert json.loads(json.dumps(rows)) == rows
    wanted = {"problem", "quantity", "value", "reference", "error", "tolerance", "source", "passed"}
    assert all(set(row) == wanted for row in rows)
    assert Row.compare("p", "q", 1.1, 1.0, 0.01, "s").error == pytest.approx(0.1)
    assert Row.compare("p", "q", 0.1, 0.0, 0.01, "s").error == pytest.approx(0.1)
    assert Row.failed("p", "why").record()["error"] is None


def test_every_problem_is_on_the_page_as_it_was_last_measured():
    page = (Path(__file__).parents[3] / "docs" / "verification.md").read_text(encoding="utf-8")
    for name in PROBLEMS:
        assert f"<!-- begin {name} -->" in page, (
            f"run organtwin verify {name} --full --docs docs/verification.md"
        )
        written = page.split(f"<!-- begin {name} -->\n")[1].split("<!-- end")[0]
        assert "| pass |" in written
        assert "**fail**" not in written
    # What takes no time is measured again.
    for name in ("windkessel", "viscoelastic"):
        assert section(name, verify([name])) in page


def test_a_run_replaces_its_own_sections_of_a_page(tmp_path):
    page = tmp_path / "verification.md"
    write_page(page, {"windkessel": [Row.compare("p", "first", 1.0, 1.0, 0.1, "s")]})
    write_page(page, {"fisher": [Row.compare("p", "second", 1.2, 1.0, 0.1, "s"), Row.failed("p", "third")]})
    text = page.read_text(encoding="utf-8")
    assert "| p: first | 1 | 1 | < 1e-9 | 0.1 | pass | s |" in text
    assert "| p: second | 1.2 | 1 | 2.0e-01 | 0.1 | **fail** | s |" in text
    assert "| p: third | unsolved |" in text
    assert text.count("<!-- begin ") == len(PROBLEMS)


def test_a_row_passes_only_within_its_tolerance():
    assert Row.compare("p", "q", 1.009, 1.0, 0.01, "s").passed
    assert not Row.compare("p", "q", 1.011, 1.0, 0.01, "s").passed
    assert Row.compare("p", "q", 1e-11, 0.0, 1e-10, "s").passed
    assert not Row.compare("p", "q", float("nan"), 0.0, 1e-10, "s").passed
    assert Row.at_least("p", "q", 2.95, 3.0, 0.1, "s").passed
    assert not Row.at_least("p", "q", 2.85, 3.0, 0.1, "s").passed
    assert Row.at_most("p", "q", 3.05, 3.0, 0.1, "s").passed
    assert not Row.at_most("p", "q", 3.15, 3.0, 0.1, "s").passed
    assert not Row.at_most("p", "q", float("nan"), 3.0, 0.1, "s").passed


def test_unknown_problems_are_refused():
    with pytest.raises(SolverError, match="no verification problem 'koch'"):
        verify(["koch"])


def test_a_problem_that_cannot_be_solved_is_a_row_that_failed(monkeypatch):
    def refuse():
        raise SolverError("the tissue folds")

    monkeypatch.setattr(block_shear, "run", refuse)
    (row,) = verify(["block_shear"])
    assert not row.passed
    assert row.value is None
    assert row.quantity == "the tissue folds"


def test_progress_tells_what_is_running():
    said = []
    verify(["viscoelastic"], progress=lambda stage, fraction: said.append((stage, fraction)))
    assert said == [("verifying viscoelastic", 0.0), ("verified", 1.0)]
