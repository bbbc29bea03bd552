"""The reference tier on the block shear: time to equilibrium beside scikit-fem and FElupe, and the agreement.

One process, the same mesh, the same quadratic displacement element, one load step; assembly, factorisation and
all Newton iterations are timed, reading of the libraries and the one-time compilation of kernels are not. The
peers are in the dependency group `peers`; one that is absent is left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from anatomy.mesh import OrganMesh
from anatomy.progress import Progress
from benchmarks import Row
from benchmarks.peers_block import felupe_reaction, installed, scikit_fem_reaction
from solver import Body, Equilibrium
from solver.materials import Compressibility, NeoHookean
from solver.tissues import Tissue
from solver.verification.blocks import kuhn_block

SHEAR_KPA, BULK_KPA, SHIFT_MM = 2.0, 100.0, 6.0
CELLS = (4, 8)
PEERS = (("scikit-fem", "skfem", scikit_fem_reaction), ("FElupe", "felupe", felupe_reaction))
# Above this many cells across the height a peer takes minutes.
PEER_CELLS = 4


def our_reaction(block: OrganMesh, shear_modulus: float, bulk_modulus: float, shift: float) -> float:
    """Reaction of the moved face along y, mN, by `solver.Equilibrium` with the element "P2"."""
    tissue = Tissue(
        "block", NeoHookean(shear_modulus), Compressibility(bulk_modulus), 1e-6, "the benchmark's own"
    )
    body = Body(block, tissues={"liver": tissue}, attachments=(), gravity_mm_s2=(0.0, 0.0, 0.0))
    x = block.points[:, 0]
    held = np.flatnonzero((x < 1e-9) | (x > x.max() - 1e-9))
    moved = x[held] > 1.0
    goal = np.zeros((len(held), 3))
    goal[moved, 1] = shift
    state = Equilibrium(body, "P2").solve(prescribed=(held, goal))
    return float(state.reaction_mN[np.isin(state.held, held[moved]), 1].sum())


def run(progress: Progress) -> list[Row]:
    """Solve the block with 4 and 8 cells across; peers with 4."""
    rows: list[Row] = []
    _timed(our_reaction, CELLS[0] // 2)  # compiles the kernels
    for done, cells in enumerate(CELLS):
        progress("Block shear", done / len(CELLS))
        force, seconds = _timed(our_reaction, cells)
        what = f"block shear, {cells} cells across"
        rows.append(Row("equilibrium", f"{what}, reaction", force, "mN"))
        rows.append(Row("equilibrium", f"{what}, time", seconds, "s"))
        if cells > PEER_CELLS:
            continue
        for name, module, solve in PEERS:
            if installed(module):
                theirs, their_seconds = _timed(solve, cells)
                ratio = seconds / their_seconds
                rows.append(Row("equilibrium", f"{what}, time", seconds, "s", name, ratio))
                apart = abs(force / theirs - 1.0)
                rows.append(Row("equilibrium", f"{what}, reaction apart from the peer's", apart, "1", name))
    progress("Block shear", 1.0)
    return rows


def _timed(solve: Callable[[OrganMesh, float, float, float], float], cells: int) -> tuple[float, float]:
    """Reaction (mN) and wall time (s) of one solve of the block with `cells` across its height."""
    block = kuhn_block((40.0, 20.0, 20.0), (2 * cells, cells, cells))
    began = time.perf_counter()
    force = solve(block, SHEAR_KPA, BULK_KPA, SHIFT_MM)
    return force, time.perf_counter() - began
