"""The block shear of the verification problems, solved by us and by other finite-element codes on the same mesh.

Every solver gets the same vertices and tetrahedra, quadratic displacements with four integration points, the same
strain energy µ/2 (J^(-2/3) I1 − 3) + K/2 (J − 1)², and the whole load at once; each goes its own best way from there.
CalculiX takes its own direct solver, SPOOLES. scikit-fem and FElupe leave the linear systems to the caller: they get
SciPy's SuperLU with a minimum-degree ordering of the symmetric pattern, several times faster than its default.

`python -m benchmarks.peers_block NAME CELLS` solves once, in a process of its own, and prints reaction, seconds and
peak memory as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomy.mesh import OrganMesh
from solver.verification.blocks import kuhn_block

Array = NDArray[np.float64]

SIZE_MM = (40.0, 20.0, 20.0)
SHEAR_KPA, BULK_KPA, SHIFT_MM = 2.0, 100.0, 6.0


def block(cells: int) -> OrganMesh:
    """The brick with `cells` bricks of six tetrahedra across its height."""
    return kuhn_block(SIZE_MM, (2 * cells, cells, cells))


def our_reaction(block: OrganMesh, shear_modulus: float, bulk_modulus: float, shift: float) -> float:
    """Reaction of the moved face along y, mN, by `solver.Equilibrium` with the element "P2".

    Parameters
    ----------
    block : OrganMesh
        The brick, mm.
    shear_modulus, bulk_modulus : float
        kPa.
    shift : float
        Displacement of the far x face along y, mm; the near one is clamped.
    """
    from solver import Body, Equilibrium
    from solver.materials import Compressibility, NeoHookean
    from solver.tissues import Tissue

    law, volume = NeoHookean(shear_modulus), Compressibility(bulk_modulus)
    tissue = Tissue("block", law, volume, 1e-6, "the benchmark's own")
    body = Body(block, tissues={"liver": tissue}, attachments=(), gravity_mm_s2=(0.0, 0.0, 0.0))
    x = block.points[:, 0]
    held = np.flatnonzero((x < 1e-9) | (x > x.max() - 1e-9))
    moved = x[held] > 1.0
    goal = np.zeros((len(held), 3))
    goal[moved, 1] = shift
    state = Equilibrium(body, "P2").solve(prescribed=(held, goal))
    return float(state.reaction_mN[np.isin(state.held, held[moved]), 1].sum())


def _symmetric_solve(matrix: Any, right: Array) -> Array:
    """SuperLU as it serves symmetric matrices best."""
    from scipy.sparse.linalg import splu

    options = {"SymmetricMode": True}
    factor = splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
    return np.asarray(factor.solve(right))


def scikit_fem_reaction(block: OrganMesh, shear_modulus: float, bulk_modulus: float, shift: float) -> float:
    """Reaction of the moved face along y, mN, by scikit-fem; arguments as in `our_reaction`."""
    import skfem
    from skfem.helpers import ddot, det, grad, identity, inv, mul, transpose

    mesh = skfem.MeshTet(block.points.T.copy(), block.tets.T.copy())
    basis = skfem.Basis(mesh, skfem.ElementVector(skfem.ElementTetP2()), intorder=2)

    def state(w: Any) -> tuple[Any, Any, Any, Any]:
        gradient = grad(w["u"])
        stretch = gradient + identity(gradient)
        return stretch, det(stretch), transpose(inv(stretch)), ddot(stretch, stretch)

    @skfem.LinearForm
    def residual(v: Any, w: Any) -> Any:
        F, J, H, I1 = state(w)
        stress = shear_modulus * J ** (-2 / 3) * (F - I1 / 3 * H) + bulk_modulus * (J - 1) * J * H
        return ddot(stress, grad(v))

    @skfem.BilinearForm
    def tangent(u: Any, v: Any, w: Any) -> Any:
        F, J, H, I1 = state(w)
        dF = grad(u)
        trace = ddot(H, dF)
        turned = mul(H, mul(transpose(dF), H))
        isochoric = dF - 2 / 3 * trace * (F - I1 / 3 * H) - 2 / 3 * ddot(F, dF) * H + I1 / 3 * turned
        volumetric = (2 * J - 1) * J * trace * H - (J - 1) * J * turned
        return ddot(shear_modulus * J ** (-2 / 3) * isochoric + bulk_modulus * volumetric, grad(v))

    far = block.points[:, 0].max()
    clamped = basis.get_dofs(lambda x: np.isclose(x[0], 0.0))
    moved = basis.get_dofs(lambda x: np.isclose(x[0], far))
    along_y = moved.all(["u^2"])
    held = np.concatenate([clamped.all(), moved.all()])
    goal = basis.zeros()
    goal[along_y] = shift
    u = basis.zeros()
    for _ in range(25):
        known = {"u": basis.interpolate(u)}
        force, stiffness = residual.assemble(basis, **known), tangent.assemble(basis, **known)
        system = skfem.condense(stiffness, -force, x=goal - u, D=held)
        step = skfem.solve(*system, solver=_symmetric_solve)
        u = u + step
        if np.abs(step).max() < 1e-10:
            return float(residual.assemble(basis, u=basis.interpolate(u))[along_y].sum())
    raise RuntimeError("scikit-fem did not converge on the block shear")


def felupe_reaction(block: OrganMesh, shear_modulus: float, bulk_modulus: float, shift: float) -> float:
    """Reaction of the moved face along y, mN, by FElupe; arguments as in `our_reaction`."""
    import felupe

    linear = felupe.Mesh(block.points, block.tets, cell_type="tetra")
    mesh = linear.add_midpoints_edges()
    region = felupe.RegionQuadraticTetra(mesh)
    field = felupe.FieldContainer([felupe.Field(region, dim=3)])
    far = block.points[:, 0].max()
    boundaries = {
        "clamped": felupe.Boundary(field[0], fx=0.0),
        "still": felupe.Boundary(field[0], fx=far, skip=(0, 1, 0)),
        "moved": felupe.Boundary(field[0], fx=far, skip=(1, 0, 1), value=shift),
    }
    solid = felupe.SolidBody(felupe.NeoHooke(mu=shear_modulus, bulk=bulk_modulus), field)
    dofs, free = felupe.dof.partition(field, boundaries)
    ext = felupe.dof.apply(field, boundaries, dofs)
    result = felupe.newtonraphson(
        items=[solid], dof0=dofs, dof1=free, ext0=ext, verbose=0, tol=1e-9, solver=_symmetric_solve
    )
    return float(felupe.tools.force(result.x, result.fun, boundaries["moved"])[1])


def calculix_reaction(block: OrganMesh, shear_modulus: float, bulk_modulus: float, shift: float) -> float:
    """Reaction of the moved face along y, mN, by CalculiX; arguments as in `our_reaction`."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "block.inp").write_text(_deck(block, shear_modulus, bulk_modulus, shift))
        done = subprocess.run(["ccx", "block"], cwd=folder, capture_output=True, text=True)
        found = Path(folder, "block.dat")
        numbers = found.read_text().split() if found.exists() else []
        if done.returncode or "convergence" not in done.stdout or len(numbers) < 3:
            raise RuntimeError(f"CalculiX did not solve the block: {done.stdout[-500:]}{done.stderr[-500:]}")
        return float(numbers[-2])


def _deck(block: OrganMesh, shear_modulus: float, bulk_modulus: float, shift: float) -> str:
    """Input of CalculiX: C3D10, *HYPERELASTIC with C10 = µ/2 and D1 = 2/K, one increment."""
    corners = ((0, 1), (1, 2), (0, 2), (0, 3), (1, 3), (2, 3))
    assert sorted(corners) == sorted(combinations(range(4), 2))
    count = len(block.points)
    pairs = np.sort(np.stack([block.tets[:, pair] for pair in corners], axis=1), axis=2)
    edges, edge = np.unique(pairs[..., 0] * count + pairs[..., 1], return_inverse=True)
    middles = (block.points[edges // count] + block.points[edges % count]) / 2
    nodes = np.vstack([block.points, middles])
    cells = np.hstack([block.tets, count + edge.reshape(-1, 6)]) + 1
    lines = ["*NODE,NSET=ALL"]
    lines += [f"{i},{x:.12g},{y:.12g},{z:.12g}" for i, (x, y, z) in enumerate(nodes, 1)]
    lines += ["*ELEMENT,TYPE=C3D10,ELSET=BLOCK"]
    lines += [f"{i},{','.join(map(str, cell))}" for i, cell in enumerate(cells, 1)]
    for name, x in (("CLAMPED", 0.0), ("MOVED", nodes[:, 0].max())):
        lines += [f"*NSET,NSET={name}", *(str(i + 1) for i in np.flatnonzero(nodes[:, 0] == x))]
    lines += ["*MATERIAL,NAME=TISSUE", "*HYPERELASTIC,NEO HOOKE", f"{shear_modulus / 2},{2 / bulk_modulus}"]
    lines += ["*SOLID SECTION,ELSET=BLOCK,MATERIAL=TISSUE"]
    lines += ["*BOUNDARY", "CLAMPED,1,3", "MOVED,1,1", "MOVED,3,3", "*STEP,NLGEOM", "*STATIC", "1.,1."]
    # Residual against the mean force: the default, 5e-3, leaves the reaction wrong in the sixth digit.
    lines += ["*CONTROLS,PARAMETERS=FIELD", "1e-6,1e-3", "*BOUNDARY", f"MOVED,2,2,{shift}"]
    return "\n".join([*lines, "*NODE PRINT,NSET=MOVED,TOTALS=ONLY", "RF", "*END STEP", ""])


Solver = Callable[[OrganMesh, float, float, float], float]
OURS = "organtwin"
SOLVERS: dict[str, Solver] = {
    OURS: our_reaction,
    "CalculiX": calculix_reaction,
    "scikit-fem": scikit_fem_reaction,
    "FElupe": felupe_reaction,
}


def missing(name: str) -> str:
    """What is not installed of a peer; empty where nothing is missing."""
    if name == "CalculiX":
        return "" if shutil.which("ccx") else "ccx (Debian package calculix-ccx)"
    module = {"scikit-fem": "skfem", "FElupe": "felupe"}.get(name, "solver")
    return "" if find_spec(module) else f"the Python package {name} (dependency group peers)"


def measured(name: str, cells: int, timeout_s: float) -> dict[str, float] | None:
    """Reaction (mN), wall time (s) and peak memory (MB) of one solver in a process of its own, on one thread.

    Returns
    -------
    dict with reaction_mN, seconds and megabytes, or None if it took longer than `timeout_s`.

    Raises
    ------
    RuntimeError
        If the solver failed; with what it said.
    """
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(threads, "1")}
    command = [sys.executable, "-m", "benchmarks.peers_block", name, str(cells)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=timeout_s,
            cwd=Path(__file__).resolve().parent.parent,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        raise RuntimeError(f"{name} failed on the block of {cells} cells: {done.stderr[-800:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def _main(name: str, cells: int) -> None:
    solve = SOLVERS[name]
    # Libraries are read and kernels compiled before the clock starts.
    solve(block(2), SHEAR_KPA, BULK_KPA, SHIFT_MM)
    mesh = block(cells)
    began = time.perf_counter()
    reaction = solve(mesh, SHEAR_KPA, BULK_KPA, SHIFT_MM)
    seconds = time.perf_counter() - began
    who = resource.RUSAGE_CHILDREN if name == "CalculiX" else resource.RUSAGE_SELF
    megabytes = resource.getrusage(who).ru_maxrss * 1024 / 1e6
    print(json.dumps({"reaction_mN": reaction, "seconds": seconds, "megabytes": megabytes}))


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]))
