"""LiveTissue: where the live tissue is, what holds it, and what acts on it.

Tools that grasp hold patches of vertices; whatever else acts is a load (`solver.live_load`). Energy and gradient are
known of the present state at all times, and seen anew whenever what holds or acts has changed. How the state comes
nearer to equilibrium is `solver.interactive`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solver.averaged import Averaged
from solver.body import Body
from solver.curvature import Curvature
from solver.errors import SolverError
from solver.factor import Factor
from solver.live_load import LiveLoad
from solver.patch import Patch, find_patch
from solver.response import Response

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

# No iterate has a tetrahedron below this share of its volume. Lower than the 0.3 the reference tier asks of a
# solution, so that a coarse mesh beside a small grasper does not lock the hand; every frame reports its value.
FLOOR_JACOBIAN = 0.1


class LiveTissue:
    """A state of the tissue, with the tools that hold it and the loads that act on it.

    Parameters
    ----------
    body : Body
        With its stress-free shape.
    averaged : Averaged
    displacement : ndarray, shape (n, 3), float64
        From the stress-free shape, mm.
    factor : Factor
        Of the tangent there.
    """

    def __init__(self, body: Body, averaged: Averaged, displacement: Array, factor: Factor) -> None:
        self.body, self._averaged = body, averaged
        self._u, self._factor = displacement, factor
        self._response = Response(factor, averaged.vertices, {})
        self._patches: dict[str, Patch] = {}
        self._load: Array | None = None
        self._loads: dict[str, LiveLoad] = {}
        # What coupled loads were foreseen to add to the gradient at the end of the last step, and of the next one.
        self._expected: Array | None = None
        self._foreseen: Array | None = None
        self._curvature = Curvature()
        self._stuck, self._slow = False, 0
        self._take_hold()

    # ------------------------------------------------------------------ tools

    @property
    def tools(self) -> dict[str, Array]:
        """Position of every tool that holds tissue, mm, LPS."""
        return {name: patch.position_mm for name, patch in self._patches.items() if patch.holding}

    @property
    def positions(self) -> Array:
        """Where the vertices are now, shape (n, 3), float64, mm, LPS."""
        return self.body.reference_points + self._u

    def position_of(self, tool: str) -> Array:
        """Position of a tool that holds tissue, shape (3,), mm, LPS."""
        return self._held_patch(tool).position_mm

    def held_by(self, tool: str) -> Ints:
        """Vertices a tool holds, OrganMesh order."""
        return self._held_patch(tool).vertices

    def grasp(self, tool: str, point_mm: ArrayLike, radius_mm: float = 8.0) -> None:
        """Take hold of the tissue around a point of the present shape.

        Parameters
        ----------
        tool : str
            Name of the tool.
        point_mm : array-like, shape (3,)
            LPS millimetres.
        radius_mm : float
            Every vertex within it is held.

        Raises
        ------
        SolverError
            If there is nothing to grasp, or the tool already holds something.
        """
        if tool in self.tools:
            raise SolverError(f"The tool '{tool}' already holds tissue; release it first.")
        if not (np.isfinite(radius_mm) and radius_mm > 0):
            raise SolverError(f"The grasp radius is {radius_mm:g} mm; it must be positive.")
        self._patches.pop(tool, None)
        point = _vector(point_mm, "The point to grasp")
        taken = np.concatenate(
            [np.zeros(0, dtype=np.int64), *(p.vertices for p in self._patches.values() if p.holding)]
        )
        patch = find_patch(self.body.organ, self.positions, point, float(radius_mm), taken, self._u)
        self._patches[tool] = patch
        self._take_hold()

    def move(self, tool: str, position_mm: ArrayLike) -> None:
        """Bring a tool to a position; what it holds follows rigidly in the next steps.

        Parameters
        ----------
        tool : str
        position_mm : array-like, shape (3,)
            LPS millimetres, of the point at which it took hold.
        """
        patch = self._held_patch(tool)
        moved = _vector(position_mm, "The tool's position") - patch.point_mm
        patch.pending_mm = patch.pending_mm + moved - patch.moved_mm
        patch.moved_mm = moved

    def loosen(self, tool: str, share: float) -> None:
        """Let go by degrees: from the first call on the patch is free and only a share of the force pulls it.

        Parameters
        ----------
        tool : str
        share : float
            Of the force the tool had when it began to let go, 1 to 0.
        """
        if tool not in self._patches:
            raise SolverError(f"There is no tool '{tool}' that holds tissue; grasp first.")
        patch = self._patches[tool]
        if patch.holding:
            patch.load_mN = self._gradient[patch.vertices].copy()
            patch.moved_mm = patch.moved_mm - patch.pending_mm
            patch.pending_mm = np.zeros(3)
        patch.share = float(np.clip(share, 0.0, 1.0 - 1e-12))
        self._take_hold()

    def release(self, tool: str) -> None:
        """Let go of the tissue; it returns as the next steps converge."""
        if tool not in self._patches:
            raise SolverError(f"There is no tool '{tool}' that holds tissue; grasp first.")
        del self._patches[tool]
        self._take_hold()

    @property
    def loads(self) -> Mapping[str, LiveLoad]:
        """What acts on the tissue beside tools that hold it, by name."""
        return MappingProxyType(self._loads)

    def add_load(self, name: str, load: LiveLoad) -> None:
        """Let a load act from now on, in place of one of the same name."""
        if name not in self._loads:
            self._expected = None
        self._loads[name] = load
        self._reconsider()

    def steer(self, name: str, position_mm: ArrayLike) -> None:
        """Tell the tool of a load where to go; it goes there in the next steps.

        Parameters
        ----------
        name : str
        position_mm : array-like, shape (3,)
            LPS millimetres.

        Raises
        ------
        SolverError
            If there is no load of that name, or it has no tool.
        """
        if name not in self._loads:
            raise SolverError(f"There is no load '{name}' on the tissue.")
        self._loads[name] = self._loads[name].to(_vector(position_mm, "The tool's position"))
        self._stuck = False

    def remove_load(self, name: str) -> None:
        """Let a load act no more.

        Raises
        ------
        SolverError
            If there is none of that name.
        """
        if name not in self._loads:
            raise SolverError(f"There is no load '{name}' on the tissue.")
        del self._loads[name]
        self._expected = None
        self._reconsider()

    def _reconsider(self) -> None:
        """See the present state anew, after what acts on it has changed."""
        self._accept(self._u, *self._evaluate(self._u))
        self._stuck, self._slow = False, 0

    def _held_patch(self, tool: str) -> Patch:
        patch = self._patches.get(tool)
        if patch is None or not patch.holding:
            raise SolverError(f"The tool '{tool}' holds no tissue; grasp first.")
        return patch

    def _holding(self) -> dict[str, Ints]:
        return {name: p.vertices for name, p in self._patches.items() if p.holding}

    def _all_held(self) -> Ints:
        return np.concatenate([np.zeros(0, dtype=np.int64), *self._holding().values()])

    def _take_hold(self) -> None:
        """Answer forces with what is held now."""
        if not same_vertices(self._response.patches, self._holding()):
            self._response = Response(self._factor, self._averaged.vertices, self._holding())
            self._curvature.clear()
        loose = [p for p in self._patches.values() if not p.holding]
        self._load = np.zeros_like(self._u) if loose else None
        for patch in loose:
            assert self._load is not None
            self._load[patch.vertices] += patch.share * patch.load_mN
        self._reconsider()

    def _replace_loads(self, following: Callable[[LiveLoad], LiveLoad]) -> None:
        """Put the load that follows in the place of each; the state is seen anew only where one has changed."""
        after = {name: following(load) for name, load in self._loads.items()}
        if any(after[name] is not load for name, load in self._loads.items()):
            self._loads = after
            self._reconsider()

    def _coupled(self) -> dict[str, LiveLoad]:
        return {name: load for name, load in self._loads.items() if load.coupled}

    def _lag(self) -> float:
        """How far the tissue is behind the tools, mm."""
        tools = max((float(np.linalg.norm(p.pending_mm)) for p in self._patches.values()), default=0.0)
        return max([tools, *(load.lag_mm for load in self._loads.values())])

    # ------------------------------------------------------------------ energy and forces

    def _evaluate(self, u: Array) -> tuple[float, Array, float]:
        energy, gradient, smallest = self._averaged.evaluate(u, FLOOR_JACOBIAN)
        if self._load is not None:
            energy -= float(np.vdot(self._load, u))
            gradient -= self._load
        if self._loads and np.isfinite(energy):
            positions = self.body.reference_points + u
            for load in self._loads.values():
                more, slope = load.evaluate(positions)
                energy += more
                gradient += slope
        return energy, gradient, smallest

    def _accept(self, u: Array, energy: float, gradient: Array, smallest: float) -> None:
        self._u, self._energy, self._gradient, self._minimum = u, energy, gradient, smallest
        self._direction: Array | None = None
        self._free_gradient = gradient.copy()
        self._free_gradient.reshape(-1)[self._response.held] = 0.0

    @property
    def displacement(self) -> Array:
        """From the scanned shape, shape (n, 3), float64, mm, OrganMesh order."""
        return self._u - self.body.scanned_displacement

    @property
    def forces_N(self) -> dict[str, Array]:
        """Force with which each tool acts on the tissue, shape (3,), N, LPS."""
        return self._forces()

    @property
    def strain_energy_mJ(self) -> float:
        """Energy stored in tissue and capsule, against the stress-free shape, mJ."""
        return self._averaged.strain_energy(self._u, 0.0) / 1000.0

    def _forces(self) -> dict[str, Array]:
        forces = {
            name: (self._gradient[p.vertices] if p.holding else p.share * p.load_mN).sum(axis=0) / 1000.0
            for name, p in self._patches.items()
        }
        for load in self._loads.values():
            forces.update(load.forces_N(self.positions))
        return forces


def same_vertices(first: dict[str, Ints], second: dict[str, Ints]) -> bool:
    """Whether tools hold the same vertices."""
    return first.keys() == second.keys() and all(np.array_equal(first[k], second[k]) for k in first)


def _vector(values: ArrayLike, what: str) -> Array:
    vector = np.asarray(values, dtype=np.float64)
    if vector.shape != (3,) or not np.isfinite(vector).all():
        raise SolverError(f"{what} is {values!r}; give three finite numbers in mm.")
    return vector
