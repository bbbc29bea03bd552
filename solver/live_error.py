"""Live error: how far the live tissue really is from equilibrium, by the reference tier."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from solver.errors import SolverError

if TYPE_CHECKING:
    from solver.interactive import Interactive


def reference_error(live: Interactive) -> tuple[float, float]:
    """Distance of the live state to the converged equilibrium of the same discretisation, held patches and loads.

    Newton's method of the reference tier, with its own assembly and its own factorisation, goes on from the live
    state to a relative residual of `solver.equilibrium.RELATIVE_RESIDUAL`.

    Parameters
    ----------
    live : Interactive

    Returns
    -------
    mean_mm, max_mm : float
        Over all vertices.

    Raises
    ------
    SolverError
        If a tool is letting go (its force is not a prescribed displacement), or Newton's method fails.
    """
    from solver.acting import Acting, outer_loads
    from solver.equilibrium import Equilibrium

    body, loads = live.body, outer_loads(live.loads.values())
    if len(live.tools) != len(live.snapshot().patches):
        raise SolverError("A tool is letting go; compare when it has been released.")
    u = live.displacement
    held = np.concatenate([np.zeros(0, dtype=np.int64), *(live.held_by(tool) for tool in live.tools)])
    acting = [Acting(loads)] if loads else []
    found = Equilibrium(body, "P1-averaged", acting).solve(prescribed=(held, u[held]), start=u)
    error = np.linalg.norm(found.displacement - u, axis=1)
    return float(error.mean()), float(error.max())
