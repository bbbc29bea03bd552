"""The reference tier on the block shear: time to equilibrium and memory beside other codes, and the agreement.

One core, the same mesh, the same quadratic displacement element; assembly, factorisation and all Newton iterations
are timed, reading of the libraries and the one-time compilation of kernels are not. See `benchmarks.peers_block` for
what each solver is given. scikit-fem and FElupe are in the dependency group `peers`, CalculiX is a Debian package; one
that is absent is left out, and a row says so.
"""

from __future__ import annotations

from anatomy.progress import Progress
from benchmarks import Row
from benchmarks.peers_block import OURS, SOLVERS, measured, missing

CELLS = (8, 12)
# A peer that takes longer than this on one block is given up.
PATIENCE_S = 1800.0


def run(progress: Progress) -> list[Row]:
    """Solve the block with 8 and 12 cells across (28,611 and 91,875 unknowns) with every solver that is there."""
    rows = [
        Row("equilibrium", f"{name} is left out: {missing(name)} is not installed", 0.0, "1", name)
        for name in SOLVERS
        if missing(name)
    ]
    there = [name for name in SOLVERS if not missing(name)]
    for done, cells in enumerate(CELLS):
        what = f"block shear, {cells} cells across"
        ours = None
        for number, name in enumerate(there):
            progress(f"Block shear by {name}", (done + number / len(there)) / len(CELLS))
            found = measured(name, cells, PATIENCE_S)
            if found is None:
                rows.append(Row("equilibrium", f"{what}, {name} given up after", PATIENCE_S, "s", name))
            elif name == OURS:
                ours = found
                rows.append(Row("equilibrium", f"{what}, reaction", found["reaction_mN"], "mN"))
            elif ours is not None:
                rows += _beside(what, name, ours, found)
    progress("Block shear", 1.0)
    return rows


def _beside(what: str, name: str, ours: dict[str, float], theirs: dict[str, float]) -> list[Row]:
    """Our time and memory against a peer's, and how far its reaction is from ours."""
    rows = []
    for quantity, key, unit in (("time", "seconds", "s"), ("peak memory", "megabytes", "MB")):
        rows.append(Row("equilibrium", f"{what}, {quantity}", ours[key], unit, name, ours[key] / theirs[key]))
    apart = abs(theirs["reaction_mN"] / ours["reaction_mN"] - 1.0)
    rows.append(Row("equilibrium", f"{what}, reaction apart from the peer's, relative", apart, "1", name))
    return rows
