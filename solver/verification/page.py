"""The page of the documentation that says what was verified, made from the rows of a run.

Each problem is a section between `<!-- begin NAME -->` and `<!-- end NAME -->`; a run of some problems replaces their
sections and leaves the others. What stands outside of the sections is written by hand.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from anatomy.files import whole_or_nothing
from solver.verification import PROBLEMS
from solver.verification.row import Row

HEAD = """# Verification: problems with known answers

Made by `organtwin verify --full --docs docs/verification.md`; each row is a number the solver computed, beside what it
should be and where that comes from. Errors are relative to the reference, and absolute where it is zero. An order, and
what is to be reached at least or at most, counts on the wrong side only, with an absolute tolerance. `organtwin verify`
alone runs what is quick and fails if a row is out of its tolerance; name a problem to run it alone.
"""


def section(name: str, rows: Sequence[Row]) -> str:
    """Text of a problem's section: what is solved, and a table of its rows."""
    module = importlib.import_module(f"solver.verification.{name}")
    words = " ".join((module.__doc__ or "").strip().split("\n\n")[0].split())
    head = ["quantity", "value", "reference", "error", "tolerance", "", "source"]
    lines = [head, ["---"] * len(head), *(_cells(row) for row in rows)]
    return f"{words}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _cells(row: Row) -> list[str]:
    passed = "pass" if row.passed else "**fail**"
    if row.value is None:
        return [f"{row.problem}: {row.quantity}", "unsolved", "", "", "", passed, ""]
    error = 0.0 if row.error is None else row.error
    # Rounding errors differ from one machine to another.
    value, shown = (
        ("0", "< 1e-10") if row.reference == 0 and error < 1e-10 else (f"{row.value:.6g}", f"{error:.1e}")
    )
    shown = "< 1e-9" if row.reference and error < 1e-9 else shown
    return [
        f"{row.problem}: {row.quantity}",
        value,
        f"{row.reference:.9g}",
        shown,
        f"{row.tolerance:g}",
        passed,
        row.source,
    ]


def write_page(path: Path, rows: Mapping[str, Sequence[Row]]) -> None:
    """Write the sections of the problems that ran into a page, which is begun where there is none."""
    content = path.read_text(encoding="utf-8") if path.exists() else HEAD
    for name in PROBLEMS:
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
        if begin not in content:
            title = name.replace("_", " ").capitalize()
            content = content.rstrip() + f"\n\n## {title}\n\n{begin}{end}\n"
        if name in rows:
            before, rest = content.split(begin, 1)
            content = before + begin + section(name, rows[name]) + end + rest.split(end, 1)[1]
    with whole_or_nothing(path) as partial:
        partial.write_text(content, encoding="utf-8")
