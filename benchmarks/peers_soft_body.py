"""What else could be picked for tissue in the hand: the soft bodies of MuJoCo and Newton, on the mesh and load of ours.

A liver of about 5,000 tetrahedra, homogeneous and without weight, is clamped along its back and pulled by a patch of
its front, 30 mm in 3 s, then held still for 1 s. Every solver gets the same vertices and tetrahedra, the same shear and
bulk modulus, density and prescribed motion, and runs with the settings its own makers use:

* ours, the live tier with one iteration a frame at 120 frames/s: neo-Hookean, quasi-static;
* MuJoCo's flex: St. Venant–Kirchhoff with the Young's modulus and Poisson's ratio of the same small strains,
  linear tetrahedra, dynamics with the integrator its soft bodies ask for (`discrete`) at its
  default step of 2 ms, little elastic damping; where this blows up, the step is halved until it does not;
* Newton's vertex block descent (SolverVBD) on the CPU: neo-Hookean, linear tetrahedra, implicit Euler, 60 frames/s with
  10 substeps of 10 iterations as in its soft-body example.

The truth is the equilibrium of quadratic displacements and linear pressure on the same mesh (`Equilibrium`, "P2-P1").
What differs and counts against a peer: linear tetrahedra lock near incompressibility, the law of MuJoCo is another one
at large strain, and both are dynamic, for which reason the error is also given after holding still.

`python -m benchmarks.peers_soft_body NAME FILE` lets one solver pull in a process of its own.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import Row

Array = NDArray[np.float64]

SHEAR_KPA, BULK_KPA, DENSITY = 2.0, 40.0, 1.06e-6
TETS, PULL_MM, SECONDS, STILL_S, INSTANTS = 5_000, 30.0, 3.0, 1.0, 10
CLAMPED_SHARE, CLAMP_KPA_MM, RADIUS_MM = 0.25, 1e4, 30.0
FRONT = np.array([0.0, -1.0, 0.0])
PATIENCE_S = 240.0
OURS = "organtwin"
PACKAGES = {OURS: "solver", "MuJoCo": "mujoco", "Newton": "newton"}


def missing(name: str) -> str:
    """Package a solver needs and this installation lacks; empty if none."""
    return "" if find_spec(PACKAGES[name]) else PACKAGES[name]


def rows() -> list[Row]:
    """Frames a second and errors of each solver that is installed."""
    from benchmarks.live_scenes import organ_mesh

    found: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        problem = Path(folder) / "problem.npz"
        write_problem(organ_mesh("liver", TETS), problem)
        truth = reference(problem)
        ours = None
        for name in PACKAGES:
            if missing(name):
                told = f"{name} is left out: {missing(name)} is not installed"
                found.append(Row("interactive", told, 0.0, "1", peer=name))
                continue
            result = measured(name, problem)
            ours = result if name == OURS else ours
            found += _rows(name, result, truth, ours)
    return found


def write_problem(mesh: Any, path: Path) -> None:
    """Mesh, clamped facets and held vertices as arrays, mm."""
    points, facets = mesh.points, mesh.exterior
    back = points[facets][:, :, 1].min(axis=1) > np.quantile(points[:, 1], 1 - CLAMPED_SHARE)
    surface = np.unique(facets)
    start = points[surface[np.argmin(points[surface, 1])]]
    held = np.flatnonzero(np.linalg.norm(points - start, axis=1) <= RADIUS_MM)
    np.savez(
        path, points=points, tets=mesh.tets, clamped_facets=facets[back], clamped=np.unique(facets[back]),
        held=held, start=start,
    )  # fmt: skip


def _body(problem: Any) -> Any:
    from anatomy.mesh import OrganMesh
    from solver import Body
    from solver.attachments import Attachment
    from solver.materials import Compressibility, NeoHookean
    from solver.tissues import Tissue

    organ = OrganMesh(
        problem["points"], problem["tets"], np.ones(len(problem["tets"]), dtype=np.uint8), {1: "liver"}
    )
    tissue = Tissue("block", NeoHookean(SHEAR_KPA), Compressibility(BULK_KPA), DENSITY, "the benchmark's own")
    clamp = Attachment("clamp", problem["clamped_facets"], CLAMP_KPA_MM, CLAMP_KPA_MM)
    return Body(organ, tissues={"liver": tissue}, attachments=[clamp], gravity_mm_s2=(0.0, 0.0, 0.0))


def reference(path: Path) -> tuple[Array, Array]:
    """Displacements, mm, and forces, N, of the P2–P1 equilibrium at the ten instants."""
    from solver import Equilibrium

    problem = np.load(path)
    equilibrium, held = Equilibrium(_body(problem), "P2-P1"), problem["held"]
    state, moves, forces = None, [], []
    for k in range(1, INSTANTS + 1):
        goal = np.tile(FRONT * PULL_MM * k / INSTANTS, (len(held), 1))
        state = equilibrium.solve(prescribed=(held, goal), start=state)
        moves.append(state.displacement)
        forces.append(state.reaction_mN.sum(axis=0) / 1000.0)
    return np.array(moves), np.array(forces)


def measured(name: str, problem: Path) -> dict[str, Any]:
    """What one solver does, in a process of its own; keys as `_record` and "failed" where it gave up."""
    command = [sys.executable, "-m", "benchmarks.peers_soft_body", name, str(problem)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"not done after {PATIENCE_S:.0f} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no reason given"])[-1]}
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    if "failed" not in result:
        result["moves"] = np.load(problem.with_name(f"{name}.npy"))
    return result


def _rows(
    name: str, result: dict[str, Any], truth: tuple[Array, Array], ours: dict[str, Any] | None
) -> list[Row]:
    what = f"clamped liver, 5,000 tetrahedra, pull by {name}"
    if "failed" in result:
        return [Row("interactive", f"{what} failed: {result['failed']}", 0.0, "1", peer=name)]
    moves, peak = truth[0], float(np.linalg.norm(truth[0][-1], axis=1).max())
    error = np.linalg.norm(result["moves"][:INSTANTS] - moves, axis=2)
    still = np.linalg.norm(result["moves"][INSTANTS] - moves[-1], axis=1)
    numbers = [
        ("frames a second, median", 1 / result["median_s"], "1/s"),
        ("frame, 99th percentile", 1000 * result["worst_s"], "ms"),
        ("time step", 1000 * result["step_s"], "ms"),
        ("simulated time over time taken", result["real_time"], "1"),
        ("mean error, worst of ten instants", float(error.mean(axis=1).max()), "mm"),
        ("mean error after holding still", float(still.mean()), "mm"),
        ("largest error after holding still, of the peak displacement", 100 * float(still.max()) / peak, "%"),
    ]
    if "force_N" in result:
        off = np.linalg.norm(np.array(result["force_N"]) - truth[1][-1]) / np.linalg.norm(truth[1][-1])
        numbers.append(("error of the force after holding still", 100 * float(off), "%"))
    ratio = None
    if ours is not None and name != OURS:
        ratio = (1 / ours["real_time"]) / (1 / result["real_time"])
    return [
        Row(
            "interactive", f"{what}: {title}", value, unit, peer=None if name == OURS else name,
            ratio=ratio if title.startswith("simulated") else None,
        )
        for title, value, unit in numbers
    ]  # fmt: skip


# ---------------------------------------------------------------------- one solver, in a process of its own


class _Record:
    """Times of frames and states at the instants."""

    def __init__(self, rate: float, step_s: float) -> None:
        self.rate, self.step_s = rate, step_s
        self.seconds: list[float] = []
        self.moves: list[Array] = []

    def shift(self, frame: int) -> Array:
        """Displacement of what is held at the end of a frame, mm."""
        return FRONT * PULL_MM * min(frame / (self.rate * SECONDS), 1.0)

    @property
    def frames(self) -> int:
        return int(self.rate * (SECONDS + STILL_S))

    def see(self, frame: int, seconds: float, displacement: Array) -> bool:
        """Keep what a frame took, and its state at an instant; False where it blew up."""
        self.seconds.append(seconds)
        if frame * INSTANTS % int(self.rate * SECONDS) == 0 and len(self.moves) < INSTANTS:
            self.moves.append(displacement.copy())
        if frame == self.frames:
            self.moves.append(displacement.copy())
        return bool(np.isfinite(displacement).all() and np.abs(displacement).max() < 10 * PULL_MM)

    def result(self) -> dict[str, Any]:
        return {
            "median_s": float(np.median(self.seconds)), "worst_s": float(np.percentile(self.seconds, 99)),
            "step_s": self.step_s, "real_time": len(self.seconds) / self.rate / sum(self.seconds),
        }  # fmt: skip


def _ours(problem: Any) -> tuple[_Record, dict[str, Any]]:
    from solver import Interactive

    live = Interactive(_body(problem))
    live.grasp("tool", problem["start"], RADIUS_MM)
    record = _Record(120, 1 / 120)
    for k in range(1, record.frames + 1):
        began = time.perf_counter()
        live.move("tool", problem["start"] + record.shift(k))
        frame = live.step(iterations=1, advance_s=1 / 120)
        record.see(k, time.perf_counter() - began, live.displacement)
    return record, {"force_N": frame.forces_N["tool"].tolist()}


def _young_poisson() -> tuple[float, float]:
    """Small-strain Young's modulus, kPa, and Poisson's ratio of the shear and bulk modulus."""
    young = 9 * BULK_KPA * SHEAR_KPA / (3 * BULK_KPA + SHEAR_KPA)
    return young, young / (2 * SHEAR_KPA) - 1


def _mujoco(problem: Any) -> tuple[_Record, dict[str, Any]]:
    step_s = 2e-3
    while step_s > 5e-5:
        record = _mujoco_pull(problem, step_s)
        if record is not None:
            return record, {}
        step_s /= 2
    raise SystemExit("MuJoCo: unstable even at a time step of 0.06 ms")


def _mujoco_pull(problem: Any, step_s: float) -> _Record | None:
    """One pull with a time step; None where it blew up. Lengths in metres."""
    import mujoco

    points, tets, clamped, held = (problem[k] for k in ("points", "tets", "clamped", "held"))
    young, poisson = _young_poisson()
    volume = np.linalg.det(points[tets[:, 1:]] - points[tets[:, :1]]).sum() / 6.0
    text = f"""<mujoco><option timestep="{step_s}" gravity="0 0 0" integrator="discrete"/>
      <size memory="1G"/><worldbody><flexcomp name="organ" type="direct" dim="3" radius="0.0005"
      mass="{volume * DENSITY}" point="{" ".join(f"{x:.9g}" for x in (points / 1000).ravel())}"
      element="{" ".join(map(str, tets.ravel()))}">
      <contact contype="0" conaffinity="0" selfcollide="none"/>
      <edge equality="false"/><pin id="{" ".join(map(str, clamped))}"/>
      <elasticity young="{1000 * young}" poisson="{poisson}" damping="{MUJOCO_DAMPING}"/>
      </flexcomp></worldbody></mujoco>"""
    model = mujoco.MjModel.from_xml_string(text)
    data = mujoco.MjData(model)
    body = model.flex_vertbodyid[held]
    joint = model.body_jntadr[body][:, None] + np.arange(3)
    position, speed = model.jnt_qposadr[joint], model.jnt_dofadr[joint]
    mujoco.mj_forward(model, data)
    start = data.flexvert_xpos.copy()
    record = _Record(50, step_s)
    steps = round(1 / 50 / step_s)
    for k in range(1, record.frames + 1):
        began = time.perf_counter()
        for i in range(steps):
            shift = record.shift(k - 1 + (i + 1) / steps) / 1000  # type: ignore[arg-type]
            data.qpos[position] = shift
            data.qvel[speed] = FRONT * PULL_MM / SECONDS / 1000 if k <= record.rate * SECONDS else 0.0
            mujoco.mj_step(model, data)
        seconds = time.perf_counter() - began
        if not record.see(k, seconds, 1000 * (data.flexvert_xpos - start)):
            return None
    return record


MUJOCO_DAMPING = 0.01


def _newton(problem: Any) -> tuple[_Record, dict[str, Any]]:
    """Vertex block descent on the CPU, lengths in metres."""
    # Through importlib: where they are installed their own types are stricter than what they do.
    newton: Any = importlib.import_module("newton")
    wp: Any = importlib.import_module("warp")
    wp.config.quiet = True
    wp.set_device("cpu")
    points, tets, clamped, held = (problem[k] for k in ("points", "tets", "clamped", "held"))
    builder = newton.ModelBuilder(gravity=(0.0, 0.0, 0.0))
    builder.add_soft_mesh(
        pos=wp.vec3(0.0, 0.0, 0.0), rot=wp.quat_identity(), scale=1.0, vel=wp.vec3(0.0, 0.0, 0.0),
        vertices=[wp.vec3(*p) for p in points / 1000], indices=tets.ravel().tolist(),
        density=DENSITY * 1e9, k_mu=1000 * SHEAR_KPA, k_lambda=1000 * NEWTON_LAMBDA_KPA, k_damp=NEWTON_DAMPING,
    )  # fmt: skip
    builder.color()
    model = builder.finalize(device="cpu")
    fixed = np.union1d(clamped, held)
    flags, inverse = model.particle_flags.numpy(), model.particle_inv_mass.numpy()
    flags[fixed] &= ~int(newton.ParticleFlags.ACTIVE)
    inverse[fixed] = 0.0
    model.particle_flags.assign(flags)
    model.particle_inv_mass.assign(inverse)
    solver = newton.solvers.SolverVBD(
        model=model, iterations=10, particle_enable_self_contact=False, particle_enable_tile_solve=False
    )
    now, after, control = model.state(), model.state(), model.control()
    start = now.particle_q.numpy().copy()
    record = _Record(60, 1 / 600)
    for k in range(1, record.frames + 1):
        began = time.perf_counter()
        for i in range(10):
            shift = record.shift(k - 1 + (i + 1) / 10) / 1000  # type: ignore[arg-type]
            for state in (now, after):
                places = state.particle_q.numpy()
                places[held] = start[held] + shift
            now.clear_forces()
            solver.step(now, after, control, None, record.step_s)
            now, after = after, now
        seconds = time.perf_counter() - began
        if not record.see(k, seconds, 1000.0 * (now.particle_q.numpy() - start)):
            raise SystemExit(f"Newton: blew up after {k / 60:.2f} s")
    return record, {}


# Lamé constant; its makers add µ inside, so that the small-strain response is that of λ and µ.
NEWTON_LAMBDA_KPA = BULK_KPA - 2 * SHEAR_KPA / 3
NEWTON_DAMPING = 0.0


def main(name: str, path: Path) -> None:
    """Let one solver pull; writes its states beside the problem and prints its times as JSON."""
    problem = dict(np.load(path))
    record, more = {OURS: _ours, "MuJoCo": _mujoco, "Newton": _newton}[name](problem)
    np.save(path.with_name(f"{name}.npy"), np.array(record.moves))
    print(json.dumps(record.result() | more))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
