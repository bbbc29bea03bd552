"""Run under mpiexec by test_processes.py: a body on all processes, and the same on one, compared on the first."""

import json
import sys
from pathlib import Path

import numpy as np

from solver.attachments import Attachment
from solver.backend import MPI
from solver.body import Body
from solver.equilibrium import Equilibrium
from solver.errors import SolverError
from solver.loads import Pressure, Traction
from solver.materials import Compressibility, HolzapfelGasserOgden, NeoHookean
from solver.tissues import Tissue
from solver.verification.blocks import kuhn_block


def body_on(comm):
    organ = kuhn_block(
        (40, 20, 20), (6, 3, 3), {1: "a", 2: "b"}, lambda c: np.where(c[:, 0] < 20, 1, 2).astype(np.uint8)
    )
    corners = organ.points[organ.exterior]
    top = organ.exterior[(corners[:, :, 2] > 19.99).all(axis=1)]
    bottom = organ.exterior[(corners[:, :, 2] < 0.01).all(axis=1)]
    fibres = np.zeros((len(organ.tets), 2, 3))
    fibres[:, 0, 0] = fibres[:, 1, 1] = 1.0
    tissues = {
        "a": Tissue("a", NeoHookean(2.0), Compressibility(100.0), 1e-6, "test"),
        "b": Tissue("b", HolzapfelGasserOgden(4.0, 1.0, 0.5, 0.1), Compressibility(200.0), 1e-6, "test"),
    }
    held = Attachment("bottom", bottom, 0.5, 0.2)
    return Body(organ, tissues, [held], (0, 0, -9810.0), patches={"top": top}, fibres=fibres, comm=comm)


def answers(comm, linear):
    body = body_on(comm)
    x = body.organ.points
    left, right = np.flatnonzero(x[:, 0] == 0), np.flatnonzero(x[:, 0] == 40)
    move = np.zeros((len(left) + len(right), 3))
    move[len(left) :, 1] = 3.0
    move[len(left) :, 0] = np.nan
    loads = {"P2": [], "P2-P1": [Pressure("top", 0.1)], "P1-P1": [Traction("top", (0.05, 0, 0))], "P1": []}
    found = {}
    for name, load in loads.items():
        state = Equilibrium(body, name, load, linear).solve((np.r_[left, right], move))
        pressure = state.pressure_kPa if state.pressure_kPa is not None else np.zeros(1)
        found[name] = [
            state.displacement,
            state.reaction_mN,
            pressure,
            np.array([state.strain_energy_uJ, state.minimum_jacobian, state.unknowns]),
        ]
    found["cells"] = [
        body.cells_to_organ(body.rest_volumes),
        body.to_organ(body.from_organ(x)),
        np.array([body.mass_kg]),
    ]
    return found


def refusals(comm):
    body = body_on(comm)
    x = body.organ.points
    held = np.flatnonzero((x[:, 0] == 0) | (x[:, 0] == 40))
    move = np.zeros((len(held), 3))
    move[x[held, 0] > 1, 0] = -45.0
    said = []
    for element in ("P1-averaged", "P1"):
        try:
            Equilibrium(body, element).solve((held, move))
        except SolverError as error:
            said.append(str(error))
    return said


def main(path):
    comm = MPI.COMM_WORLD
    alone, apart = answers(MPI.COMM_SELF, "direct"), {}
    for linear in ("direct", "iterative"):
        shared = answers(comm, linear)
        for name, values in alone.items():
            pairs = zip(shared[name], values, strict=True)
            apart[f"{name} {linear}"] = max(
                float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-300)) for a, b in pairs
            )
    said = comm.gather(refusals(comm))
    if comm.rank == 0:
        Path(path).write_text(json.dumps({"processes": comm.size, "apart": apart, "said": said}))


if __name__ == "__main__":
    main(sys.argv[1])
