"""ReducedTier: one tissue, answered by a reduced model where it was trained and by the full order elsewhere.

Tools grasp, move and let go as with `Interactive`. As long as the tools hold a trained grip of the resting tissue and
stay inside the trained range, a frame is a Newton step or two in the reduced coordinates. On every frame the distance
to the full order is estimated; where it exceeds what is accepted, where a move leaves the range, where another load
acts, or where a tool lets go, the state is handed over to the full order and goes on from there: it holds the same
patches, carried equally far, in the same displacement. When the full order has converged inside the range again and
the reduced model agrees with it, the model takes over once more. Every frame says which of the two has answered, and
why.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solver.averaged import Averaged
from solver.curvature import Curvature
from solver.errors import SolverError
from solver.interactive import Interactive
from solver.patch import Patch
from solver.reduced.grip import CATCH
from solver.reduced.model import Answer, ReducedModel, fingerprint

Array = NDArray[np.float64]

# Largest estimated distance to the full order an answer may have: this much, and this share of the farthest move.
ACCEPTED_MM, ACCEPTED_SHARE = 0.1, 0.01
# Tissue this near to rest counts as resting, and tools this near to where they took hold as not moved.
AT_REST_MM = 0.02
# Coming back, moves have to be this far inside the range.
INSIDE_MM = 0.5


@dataclass(frozen=True, eq=False)
class ReducedFrame:
    """An answer at haptic rate; the picture is asked for apart (`ReducedTier.displacement`).

    Parameters
    ----------
    tier : {"reduced", "full"}
        Which has answered.
    reason : str
        Why the full order did; empty otherwise.
    time_s : float
        Time of the rehearsal.
    forces_N : dict of str to ndarray, shape (3,)
        Force with which each tool pulls the tissue, N, LPS.
    distance_mm : float
        Estimated distance of the farthest vertex to the converged full order.
    force_error_N : float or None
        Estimated error of the forces; None where the full order answered.
    iterations : int
    seconds : float
        Wall time of this frame.
    """

    tier: Literal["reduced", "full"]
    reason: str
    time_s: float
    forces_N: dict[str, Array]
    distance_mm: float
    force_error_N: float | None
    iterations: int
    seconds: float


@dataclass
class _Tool:
    """A tool that holds tissue."""

    point_mm: Array
    radius_mm: float
    moved_mm: Array


class ReducedTier:
    """A body that answers at haptic rate where it was trained, and always.

    Parameters
    ----------
    live : Interactive
        The full order; reset, and from here on moved by this object alone.
    models : sequence of ReducedModel

    Raises
    ------
    SolverError
        If a model was made of another body.
    """

    def __init__(self, live: Interactive, models: Sequence[ReducedModel]) -> None:
        live.reset()
        self.live = live
        self._rest = live.snapshot()
        averaged = Averaged(live.body)
        self._answers = [Answer(model, averaged, self._rest.displacement) for model in models]
        self._fingerprint = fingerprint(live.body)
        self._tools: dict[str, _Tool] = {}
        self._grip: Answer | None = None
        self._order: list[str] = []
        self._reduced = False
        self._reason = "no tool holds a trained place"
        self._tried: Array | None = None
        self.time_s = live.time_s

    # ------------------------------------------------------------------ what it shows

    @property
    def tier(self) -> Literal["reduced", "full"]:
        """Which answers now."""
        return "reduced" if self._reduced else "full"

    @property
    def tools(self) -> dict[str, Array]:
        """Position of every tool that holds tissue, mm, LPS."""
        return {name: tool.point_mm + tool.moved_mm for name, tool in self._tools.items()}

    @property
    def displacement(self) -> Array:
        """From the scanned shape, shape (n, 3), float64, mm, OrganMesh order."""
        if self._reduced and self._grip is not None:
            return self._grip.displacement() - self.live.body.scanned_displacement
        return self.live.displacement

    @property
    def places(self) -> list[tuple[Array, float, float]]:
        """Trained grips: points (m, 3) mm, radius and reach, mm."""
        grips = [answer.model.grip for answer in self._answers]
        return [(grip.points_mm, grip.radius_mm, grip.reach_mm) for grip in grips]

    # ------------------------------------------------------------------ tools

    def grasp(self, tool: str, point_mm: ArrayLike, radius_mm: float = 8.0) -> None:
        """Take hold of the tissue.

        A trained place within half a radius of the point, with the same radius, is taken with its own patch.

        Parameters
        ----------
        tool : str
        point_mm : array-like, shape (3,)
            LPS mm.
        radius_mm : float

        Raises
        ------
        SolverError
            If there is nothing to grasp, or the tool already holds something.
        """
        if tool in self._tools:
            raise SolverError(f"The tool '{tool}' already holds tissue; release it first.")
        point = np.asarray(point_mm, dtype=np.float64)
        if point.shape != (3,) or not np.isfinite(point).all():
            raise SolverError(f"The point to grasp is {point_mm!r}; give three finite numbers in mm.")
        resting = self._resting()
        tools = {**self._tools, tool: _Tool(point, float(radius_mm), np.zeros(3))}
        found = self._trained_for(tools) if resting else None
        if found is not None:
            self._tools = tools
            self._grip, self._order = found
            self.live.restore(self._rest)
            self._grip.begin()
            self._reduced, self._reason = True, ""
            return
        if self._reduced:
            self._hand_over("the tissue is grasped where it was not trained")
        self.live.grasp(tool, point, radius_mm)
        self._tools, self._grip = tools, None
        self._reason = "no trained place there" if resting else "grasped while the tissue was not at rest"

    def move(self, tool: str, position_mm: ArrayLike) -> None:
        """Bring a tool to a position, LPS mm; what it holds follows at the next step."""
        held = self._held(tool)
        position = np.asarray(position_mm, dtype=np.float64)
        if position.shape != (3,) or not np.isfinite(position).all():
            raise SolverError(f"The tool's position is {position_mm!r}; give three finite numbers in mm.")
        held.moved_mm = position - held.point_mm
        if not self._reduced:
            self.live.move(tool, position)

    def loosen(self, tool: str, share: float) -> None:
        """Let go by degrees, in the full order; see `Interactive.loosen`."""
        self._held(tool)
        self._hand_over("a tool lets go")
        self.live.loosen(tool, share)
        self._grip = None

    def release(self, tool: str) -> None:
        """Let go; the full order brings the tissue back."""
        self._held(tool)
        self._hand_over("a tool has let go")
        self.live.release(tool)
        del self._tools[tool]
        self._grip = None

    def reset(self) -> None:
        """Go back to rest, with no tool."""
        self.live.restore(self._rest)
        self._tools, self._grip, self._reduced = {}, None, False
        self._reason, self.time_s = "no tool holds a trained place", self._rest.time_s

    def _held(self, tool: str) -> _Tool:
        if tool not in self._tools:
            raise SolverError(f"The tool '{tool}' holds no tissue; grasp first.")
        return self._tools[tool]

    def _resting(self) -> bool:
        """True where neither tools nor tissue have moved, and nothing else acts."""
        if (
            any(np.linalg.norm(tool.moved_mm) > AT_REST_MM for tool in self._tools.values())
            or self.live.loads
        ):
            return False
        if self._reduced:
            return True
        same = self.live.body.organ.points.shape == self._rest.displacement.shape
        if not same or fingerprint(self.live.body) != self._fingerprint:
            return False
        moved = self.live.displacement + self.live.body.scanned_displacement - self._rest.displacement
        return bool(np.abs(moved).max() < AT_REST_MM)

    def _trained_for(self, tools: dict[str, _Tool]) -> tuple[Answer, list[str]] | None:
        """The model of a grip that tools hold, and which of them holds which patch."""
        for answer in self._answers:
            grip = answer.model.grip
            if grip.tools != len(tools):
                continue
            for order in permutations(tools):
                near = (
                    np.linalg.norm(tools[name].point_mm - point) <= CATCH * grip.radius_mm
                    and abs(tools[name].radius_mm - grip.radius_mm) < 1e-6
                    for name, point in zip(order, grip.points_mm, strict=True)
                )
                if all(near):
                    return answer, list(order)
        return None

    # ------------------------------------------------------------------ steps

    def step(
        self, budget_s: float | None = None, iterations: int | None = None, advance_s: float = 0.0
    ) -> ReducedFrame:
        """Bring the tissue to where its tools are.

        Parameters
        ----------
        budget_s, iterations
            Of the full order, where it answers; see `Interactive.step`.
        advance_s : float
            Time of the rehearsal that passes, s.

        Returns
        -------
        ReducedFrame
        """
        started = time.perf_counter()
        if self._reduced:
            frame = self._reduced_step(advance_s, started)
            if frame is not None:
                return frame
        full = self.live.step(budget_s, iterations, advance_s)
        self.time_s = self.live.time_s
        if full.state == "converged":
            self._take_over()
        reason = self._reason or "the reduced model goes on from here"
        return ReducedFrame(
            "full", reason, self.time_s, dict(full.forces_N), full.distance_mm, None, full.iterations,
            time.perf_counter() - started,
        )  # fmt: skip

    def _moves(self) -> Array:
        return np.array([self._tools[name].moved_mm for name in self._order])

    def _reduced_step(self, advance_s: float, started: float) -> ReducedFrame | None:
        """A reduced frame, or None after the state was handed over."""
        answer, moves = self._grip, self._moves()
        assert answer is not None
        if self.live.topology != self._rest.topology:
            raise SolverError(
                "The tissue was cut while a reduced model answered for it; reset, and cut before taking hold."
            )
        if self.live.loads:
            self._hand_over("another load acts on the tissue")
            return None
        if self.live.body.attachments is not self._rest.attachments:
            self._hand_over("the tissue is held by other attachments")
            return None
        if answer.range.beyond(tuple(moves)) > 0:
            self._hand_over("the pull leaves the trained range")
            return None
        before = answer.z.copy()
        done, converged = answer.follow(moves)
        distance, force_error = answer.estimate() if converged else (np.inf, np.inf)
        if not distance <= accepted_mm(moves):
            answer.begin_at(before)
            self._hand_over("the estimated error is too large")
            return None
        self.time_s += advance_s
        forces = dict(zip(self._order, answer.forces_N(), strict=True))
        return ReducedFrame(
            "reduced", "", self.time_s, forces, distance, force_error, done, time.perf_counter() - started
        )

    def _hand_over(self, reason: str) -> None:
        """Let the full order go on from the reduced state."""
        if not self._reduced:
            self._reason = reason
            return
        answer = self._grip
        assert answer is not None
        grip, rest = answer.model.grip, self._rest.displacement
        u, reached = answer.displacement(), answer.z[: 3 * grip.tools].reshape(-1, 3)
        patches = {}
        for name, vertices, moved in zip(self._order, grip.patches, reached, strict=True):
            tool, start = self._tools[name], rest[vertices].copy()
            u[vertices] = start + moved
            patches[name] = Patch(
                vertices,
                tool.point_mm,
                start,
                tool.radius_mm,
                moved.copy(),
                np.zeros(3),
                1.0,
                np.zeros_like(start),
            )
        # What holds and loads the tissue is that of now, the rest of the state that of the tissue at rest.
        state = replace(
            self.live.snapshot(), displacement=u, patches=patches, time_s=self.time_s,
            factor=self._rest.factor, factored_at=self._rest.factored_at, curvature=Curvature(), direction=None,
            expected=(None, None), slow=0, stuck=False, frames=0, refactoring=None, hops={},
        )  # fmt: skip
        self.live.restore(state)
        for name, tool in self._tools.items():
            self.live.move(name, tool.point_mm + tool.moved_mm)
        self._reduced, self._reason, self._tried = False, reason, None

    def _take_over(self) -> None:
        """Go on with the reduced model, where it agrees with the converged full order."""
        if self._grip is None or self.live.loads or len(self.live.tools) != len(self._tools):
            return
        if self.live.topology != self._rest.topology:
            return
        moves = self._moves()
        if self._grip.range.beyond(tuple(moves)) > -INSIDE_MM or (
            self._tried is not None and np.array_equal(self._tried, moves)
        ):
            return
        self._tried = moves
        self._grip.begin()
        if not self._grip.follow(moves)[1] or not self._grip.estimate()[0] <= accepted_mm(moves):
            return
        apart = self._grip.displacement() - self.live.displacement - self.live.body.scanned_displacement
        if np.linalg.norm(apart, axis=1).max() <= accepted_mm(moves):
            self._reduced, self._reason = True, ""


def accepted_mm(moves: Array) -> float:
    """Largest estimated distance to the full order a reduced answer may have at moves (m, 3) mm."""
    return ACCEPTED_MM + ACCEPTED_SHARE * float(np.linalg.norm(moves, axis=1).max())
