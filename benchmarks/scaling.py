"""How the reference tier grows: the block shear from ten thousand to a million unknowns, on one and two processes.

Quadratic displacements, one load step, conjugate gradients on algebraic multigrid at every size. On one process the
mesh is refined; for weak scaling the unknowns of a process stay about the same. Time is that of the whole solve,
assembly and all Newton iterations, without reading libraries and compiling kernels: wall time, and processor time,
that of all processes together, which other work on the machine disturbs less. Memory is the largest that each process
held, added up.

`python -m benchmarks.scaling write` runs all sizes and writes `docs/scaling.png` and its section of
`docs/benchmarks.md`; `python -m benchmarks.scaling draw` draws the picture again from that section, without a run;
`organtwin bench scaling` prints the rows.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from anatomy.files import whole_or_nothing
from anatomy.progress import Progress, silent
from benchmarks import Row
from benchmarks.peers_block import BULK_KPA, SHEAR_KPA, SHIFT_MM, block
from viewer.errors import ViewerError

#: Bricks across the height, and processes.
CASES = ((6, 1), (12, 1), (15, 2), (18, 1), (27, 1))
ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
BEGIN, END = "<!-- begin scaling -->\n", "<!-- end scaling -->"


def measured(cells: int, processes: int) -> dict[str, float]:
    """Solve one size under mpiexec.

    Returns
    -------
    dict
        unknowns, processes, newton and krylov (iterations), seconds, processor_seconds, megabytes, reaction_mN.

    Raises
    ------
    ViewerError
        If there is no mpiexec or the solve failed.
    """
    beside = shutil.which("mpiexec", path=str(Path(sys.executable).parent))
    mpiexec = beside or shutil.which("mpiexec")
    if mpiexec is None:
        raise ViewerError("There is no mpiexec beside this Python or on the path; install MPICH.")
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(threads, "1")}
    command = [mpiexec, "-n", str(processes), sys.executable, "-m", "benchmarks.scaling", "solve", str(cells)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise ViewerError(f"The block of {cells} cells on {processes} processes failed: {done.stderr[-500:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def _solve(cells: int) -> None:
    """Solve on all processes of this run and print what was measured on the first."""
    from solver import Body, Equilibrium
    from solver.backend import MPI
    from solver.materials import Compressibility, NeoHookean
    from solver.tissues import Tissue

    comm = MPI.COMM_WORLD
    tissue = Tissue("block", NeoHookean(SHEAR_KPA), Compressibility(BULK_KPA), 1e-6, "the benchmark's own")
    for size in (2, cells):
        comm.barrier()
        began, spent = time.perf_counter(), time.process_time()
        organ = block(size)
        x = organ.points[:, 0]
        held = np.flatnonzero((x == 0) | (x == x.max()))
        goal = np.zeros((len(held), 3))
        goal[x[held] > 0, 1] = SHIFT_MM
        body = Body(organ, {"liver": tissue}, (), (0, 0, 0), comm=comm)
        state = Equilibrium(body, "P2", linear="iterative").solve((held, goal))
        seconds, spent = time.perf_counter() - began, time.process_time() - spent
    mine = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    megabytes, processor = comm.allreduce(mine), comm.allreduce(spent)
    if comm.rank == 0:
        found = {
            "unknowns": state.unknowns,
            "processes": comm.size,
            "newton": state.iterations,
            "krylov": state.linear_iterations,
            "seconds": seconds,
            "processor_seconds": processor,
            "megabytes": megabytes,
            "reaction_mN": float(state.reaction_mN[x[held] > 0, 1].sum()),
        }
        print(json.dumps(found))


def run(progress: Progress) -> list[Row]:
    """Rows of every size."""
    return [row for found in _all(progress) for row in _rows(found)]


def _all(progress: Progress) -> list[dict[str, float]]:
    results = []
    for done, (cells, processes) in enumerate(CASES):
        progress(f"Block of {cells} cells on {processes} processes", done / len(CASES))
        results.append(measured(cells, processes))
    progress("Scaling", 1.0)
    return results


def _rows(found: dict[str, float]) -> list[Row]:
    what = f"{found['unknowns']:,.0f} unknowns, processes: {found['processes']:.0f}"
    numbers = (
        ("Newton iterations", found["newton"], "1"),
        ("Krylov iterations", found["krylov"], "1"),
        ("time", found["seconds"], "s"),
        ("processor time per unknown", 1e6 * found["processor_seconds"] / found["unknowns"], "µs"),
        ("peak memory", found["megabytes"], "MB"),
    )
    return [Row("scaling", f"{what}: {name}", value, unit) for name, value, unit in numbers]


# ---------------------------------------------------------------------- documentation


def write(folder: Path = DOCS, progress: Progress = silent) -> None:
    """Run all sizes and write the picture and the section of the benchmarks page in a folder."""
    results = _all(progress)
    with whole_or_nothing(folder / "scaling.png") as partial:
        _draw(results, partial)
    page = folder / "benchmarks.md"
    before, rest = page.read_text(encoding="utf-8").split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    with whole_or_nothing(page) as partial:
        partial.write_text(before + BEGIN + _table(results) + END + after, encoding="utf-8")


def draw(folder: Path = DOCS) -> None:
    """Draw the picture from the section of the benchmarks page in a folder."""
    section = (folder / "benchmarks.md").read_text(encoding="utf-8").split(BEGIN, 1)[1].split(END, 1)[0]
    names = (
        "unknowns",
        "processes",
        "newton",
        "krylov",
        "seconds",
        "processor_seconds",
        "",
        "megabytes",
        "reaction_mN",
    )
    results = []
    for line in section.strip().splitlines()[2:]:
        cells = [float(cell.replace(",", "")) for cell in line.strip("|").split("|")]
        found = dict(zip(names, cells, strict=True))
        results.append(found | {"megabytes": 1000 * found["megabytes"]})
    with whole_or_nothing(folder / "scaling.png") as partial:
        _draw(results, partial)


def _table(results: Sequence[dict[str, float]]) -> str:
    lines = [
        "| unknowns | processes | Newton | Krylov | time (s) | processor time (s) | the same per unknown (µs) "
        "| peak memory (GB) | reaction (mN) |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for r in results:
        lines.append(
            f"| {r['unknowns']:,.0f} | {r['processes']:.0f} | {r['newton']:.0f} | {r['krylov']:.0f} "
            f"| {r['seconds']:.1f} | {r['processor_seconds']:.1f} "
            f"| {1e6 * r['processor_seconds'] / r['unknowns']:.0f} "
            f"| {r['megabytes'] / 1000:.2f} | {r['reaction_mN']:.5f} |"
        )
    return "\n".join(lines) + "\n"


def _draw(results: Sequence[dict[str, float]], path: Path) -> None:
    """Iterations, time per unknown and memory per unknown against unknowns."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    for count, marker in ((1, "o-"), (2, "s")):
        mine = [r for r in results if r["processes"] == count]
        unknowns = np.array([r["unknowns"] for r in mine])
        label = "1 process" if count == 1 else f"{count} processes"
        curves = (
            ([r["krylov"] for r in mine], "Krylov iterations, whole solve"),
            ([1e6 * r["processor_seconds"] / r["unknowns"] for r in mine], "processor time per unknown (µs)"),
            ([1e3 * r["megabytes"] / r["unknowns"] for r in mine], "peak memory per unknown (kB)"),
        )
        for axis, (values, title) in zip(axes, curves, strict=True):
            axis.plot(unknowns, values, marker, label=label)
            axis.set(title=title, xlabel="unknowns", xscale="log")
            axis.grid(alpha=0.3)
    for axis in axes:
        axis.set_xlim(1e4, 1.2e6)
        # Room above the highest marker, which would else be cut in half.
        axis.set_ylim(0, 1.08 * axis.dataLim.y1)
    axes[0].legend(loc="lower right")
    figure.savefig(path, dpi=120, format="png")
    pyplot.close(figure)


if __name__ == "__main__":
    if sys.argv[1] == "solve":
        _solve(int(sys.argv[2]))
    elif sys.argv[1] == "draw":
        draw()
    else:
        write()
