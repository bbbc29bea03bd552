"""LiveContact: a rigid tool that touches live tissue.

With the gap g, the signed distance of a point of the outer surface to the tool, and d = h/2 − g the depth in a layer of
thickness h about its surface, the tool pushes with the pressure (per area of the stress-free shape)

    p = ε d²/(2 h) for 0 < d < h,   p = ε (d − h/2) beyond,

a penalty (Wriggers 2006, Computational Contact Mechanics, ch. 6) whose onset is smoothed so that its energy has two
continuous derivatives; a layer in which contact sets in before the surfaces meet is also what the barrier of Li et
al. (2020, ACM Trans Graph 39:49) acts in. Light contact neither enters the tool nor hovers above it by more than h/2.
Beyond, the depth is about p/ε; ε is chosen stiff, because every step solves for the contact exactly
(`solver.coupling`).

Friction follows Coulomb's law, |t| ≤ μ p. Every point sticks to a place on the tool by an elastic slip no longer than
`SLIP_MM`, whose energy is quadratic up to it and linear beyond, with the pressure of the beginning of the step (the
lagged potential of Li et al. 2020, § 5). After the step the places of points that slid follow: return mapping (Simo
& Laursen 1992, Comput Struct 42:97).

Tool and tissue never pass through each other: in one iteration a tool goes, and a facet beside it moves, at most half
of the tool's half-thickness, and a tool that is told to go farther lags behind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solver.body import Body
from solver.errors import SolverError
from solver.live_load import LiveLoad
from solver.onset import onset
from solver.tools import Tool, TouchedSurface
from solver.topology import TopologyChange

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

LAYER_MM = 0.02
# Pressure at which the gap is zero (ε h/8), over the shear modulus of the stiffest tissue.
ONSET_PRESSURE = 2.5
SLIP_MM = 0.02
# Over the tool's half-thickness: its largest way between two iterations, and how deep in the tissue it goes on.
LONGEST_WAY, DEEPEST = 0.5, 0.5


class Touch(NamedTuple):
    """Points in contact: r of them, of the facets `rows`."""

    rows: Ints  # (r,) rows of the surface's facets
    point: Ints  # (r,) which point of the facet
    place: Array  # (r, 3) mm
    depth: Array  # (r,) d, mm
    normal: Array  # (r, 3) out of the tool
    curvature: Array  # (r, 3, 3) 1/mm
    weight: Array  # (r,) mm²


@dataclass(frozen=True, eq=False)
class Stuck:
    """Points that stick to the tool, k of them, with the pressure and the normal of the beginning of the step.

    Parameters
    ----------
    rows, point : ndarray, shape (k,), int64
        Facet and point of the facet.
    anchor : ndarray, shape (k, 3)
        Where on the tool, in its own frame, mm.
    load_mN : ndarray, shape (k,)
        Pressure times area.
    normal : ndarray, shape (k, 3)
    """

    rows: Ints
    point: Ints
    anchor: Array
    load_mN: Array
    normal: Array


@dataclass(frozen=True, eq=False)
class LiveContact(LiveLoad):
    """A tool against the outer surface.

    Made by `LiveContact.on`.

    Parameters
    ----------
    name : str
        Of the tool.
    tool : Tool
        Where it is.
    target_mm : ndarray, shape (3,)
        Where it is to go.
    surface : TouchedSurface
    reference : ndarray, shape (n, 3)
        Stress-free vertex positions, mm.
    penalty_kPa_mm : float
        ε.
    friction : float
        Coulomb's coefficient μ.
    stuck : Stuck or None
    """

    coupled: ClassVar[bool] = True
    name: str
    tool: Tool
    target_mm: Array
    surface: TouchedSurface
    reference: Array
    penalty_kPa_mm: float
    friction: float = 0.0
    stuck: Stuck | None = None

    @classmethod
    def on(cls, name: str, body: Body, tool: Tool, friction: float = 0.0) -> LiveContact:
        """Contact of a tool with the whole outer surface of a body.

        Parameters
        ----------
        name : str
        body : Body
        tool : Tool
            Where it is now; it should not be inside of the tissue.
        friction : float
            Coulomb's coefficient; wet serous surfaces slide, so that the default is none.

        Raises
        ------
        SolverError
            If friction is negative.
        """
        if not (np.isfinite(friction) and friction >= 0):
            raise SolverError(f"The friction of '{name}' is {friction:g}; it must be zero or positive.")
        shear = max(tissue.law.initial_shear_kPa for tissue in body.tissues.values())
        penalty = 8 * ONSET_PRESSURE * shear / LAYER_MM
        surface = TouchedSurface.of(body.organ.exterior, body.reference_points, tool.size_mm)
        return cls(name, tool, tool.position_mm, surface, body.reference_points, penalty, float(friction))

    # ------------------------------------------------------------------ the tool

    def to(self, position_mm: ArrayLike) -> LiveContact:
        """The contact with its tool told to go somewhere; it goes there in the next steps."""
        return replace(self, target_mm=self.tool.at(position_mm).position_mm)

    def placed(self, position_mm: ArrayLike) -> LiveContact:
        """The contact with its tool put somewhere at once."""
        tool = self.tool.at(position_mm)
        return replace(self, tool=tool, target_mm=tool.position_mm)

    @property
    def lag_mm(self) -> float:
        """How far the tool is behind where it is to be, mm."""
        return float(np.linalg.norm(self.target_mm - self.tool.position_mm))

    def tools_mm(self) -> dict[str, Array]:
        """Where the tool is, mm, LPS."""
        return {self.name: self.tool.position_mm}

    def followed(self, positions: Array) -> LiveContact:
        """The tool as far along its way as it may go before the next iteration."""
        way = self.target_mm - self.tool.position_mm
        length = float(np.linalg.norm(way))
        if not length:
            return self
        share = self._free_share(positions, way, length)
        if not share > 0:
            return self
        return replace(self, tool=self.tool.at(self.tool.position_mm + share * way))

    def _free_share(self, positions: Array, way: Array, length: float) -> float:
        """Share of its way that the tool may go: through free air, or a hop deeper where it touches."""
        if not len(self.surface.near(self.tool, positions, LAYER_MM, way)):
            return 1.0
        hop, start = LONGEST_WAY * self.tool.size_mm, self.tool.position_mm
        depth = self.penetration_mm(positions)
        if depth > 0 or length <= hop:
            return max(0.0, min(1.0, (DEEPEST * self.tool.size_mm - depth) / length, hop / length))
        hops = int(np.ceil(length / hop))
        for k in range(1, hops + 1):
            there = replace(self, tool=self.tool.at(start + way * (k / hops)))
            if len(there.touch(positions).depth):
                return k / hops
        return 1.0

    def allowed_share(self, positions: Array, step: Array) -> float:
        """Share of a step of the tissue, 0 to 1, in which no facet beside the tool moves farther than it may."""
        size = self.tool.size_mm
        # What is in the tool already must not come to its middle, behind which it would be pushed out at the far side.
        limit = min(LONGEST_WAY * size, 0.8 * (size - self.penetration_mm(positions)))
        longest = float(np.sqrt((step**2).sum(axis=1).max()))
        if longest <= limit:
            return 1.0
        rows = self.surface.near(self.tool, positions, min(longest, 20.0))
        if not len(rows):
            return 1.0
        moved = np.sqrt((step[self.surface.facets[rows]] ** 2).sum(axis=2).max())
        return max(0.0, min(1.0, limit / max(float(moved), 1e-300)))

    # ------------------------------------------------------------------ what the tissue feels

    def touch(self, positions: Array) -> Touch:
        """The points in contact, positions of all vertices given, shape (n, 3)."""
        surface = self.surface
        rows = surface.near(self.tool, positions, LAYER_MM)
        places = np.einsum("qa,fai->fqi", surface.shares, positions[surface.facets[rows]]).reshape(-1, 3)
        q = len(surface.shares)
        # A second look, point by point, before the distances are worked out.
        own = (places - self.tool.position_mm) @ self.tool.rotation
        low, high = self.tool.low_mm - LAYER_MM, self.tool.high_mm + LAYER_MM
        within = np.flatnonzero(((own > low) & (own < high)).all(axis=1))
        found = self.tool.distance(places[within])
        depth = LAYER_MM / 2 - found.gap
        active = depth > 0
        kept = within[active]
        facet = rows[kept // q]
        return Touch(
            facet, kept % q, places[kept], depth[active], found.normal[active], found.curvature[active],
            surface.area_mm2[facet] / q,
        )  # fmt: skip

    def _pressure(self, depth: Array) -> Array:
        return self.penalty_kPa_mm * onset(depth, LAYER_MM)[1]

    def evaluate(self, positions: Array) -> tuple[float, Array]:
        """Energy, µJ, and its gradient, mN, shape (n, 3)."""
        touch = self.touch(positions)
        gradient = np.zeros_like(positions)
        density, pressure, _ = onset(touch.depth, LAYER_MM)
        weight = self.penalty_kPa_mm * touch.weight
        energy = float(weight @ density)
        self._add(gradient, touch.rows, touch.point, (weight * pressure)[:, None] * touch.normal)
        if self.stuck is not None:
            slip, limit, _ = self._slip(positions, self.stuck)
            size = np.linalg.norm(slip, axis=1)
            rubbed = np.where(size < SLIP_MM, size**2 / (2 * SLIP_MM), size - SLIP_MM / 2)
            energy += float(limit @ rubbed)
            force = -(limit / np.maximum(size, SLIP_MM))[:, None] * slip
            self._add(gradient, self.stuck.rows, self.stuck.point, force)
        return energy, gradient

    def _add(self, gradient: Array, rows: Ints, point: Ints, force: Array) -> None:
        """Add minus the forces at points of facets to the gradient."""
        nodal = self.surface.shares[point][:, :, None] * force[:, None, :]
        np.subtract.at(gradient, self.surface.facets[rows].ravel(), nodal.reshape(-1, 3))

    def coupled_stiffness(self, positions: Array, convex: bool = False) -> tuple[Ints, Array]:
        """Second derivative of the energy among the vertices that touch; without the tool's roundness if convex."""
        touch = self.touch(positions)
        weight = self.penalty_kPa_mm * touch.weight
        p, slope = (weight * values for values in onset(touch.depth, LAYER_MM)[1:])
        along = touch.normal[:, :, None] * touch.normal[:, None, :]
        blocks = slope[:, None, None] * along
        if not convex:
            blocks -= p[:, None, None] * touch.curvature
        rows, point = touch.rows, touch.point
        if self.stuck is not None:
            rows, point = np.r_[rows, self.stuck.rows], np.r_[point, self.stuck.point]
            blocks = np.concatenate([blocks, self._rub_stiffness(positions, self.stuck)])
        corners = self.surface.facets[rows]
        vertices, number = np.unique(corners, return_inverse=True)
        number, k = number.reshape(-1, 3), len(vertices)
        shares = self.surface.shares[point]
        pairs = shares[:, :, None, None, None] * shares[:, None, None, :, None] * blocks[:, None, :, None, :]
        pairs = pairs.reshape(len(shares), 9, 9)
        own = (3 * number[:, :, None] + np.arange(3)).reshape(-1, 9)
        flat = own[:, :, None] * (3 * k) + own[:, None, :]
        matrix = np.bincount(flat.ravel(), pairs.ravel(), minlength=9 * k * k)
        return vertices, matrix.reshape(3 * k, 3 * k)

    def forces_N(self, positions: Array) -> dict[str, Array]:
        """With which the tool pushes the tissue, N; zero while it does not touch."""
        return {self.name: -self.evaluate(positions)[1].sum(axis=0) / 1000.0}

    def gap_mm(self, positions: Array, reach_mm: float) -> float:
        """Smallest distance of the surface to the tool, negative within it, mm; `reach_mm` if it is farther."""
        rows = self.surface.near(self.tool, positions, reach_mm)
        places = np.einsum("qa,fai->fqi", self.surface.shares, positions[self.surface.facets[rows]])
        return min(reach_mm, float(self.tool.distance(places.reshape(-1, 3)).gap.min(initial=np.inf)))

    def pushed_N(self, positions: Array) -> tuple[Array, float]:
        """What pressure alone pushes, without friction, N: the sum, shape (3,), and the sum of its sizes."""
        touch = self.touch(positions)
        size = touch.weight * self._pressure(touch.depth) / 1000.0
        return size @ touch.normal, float(size.sum())

    def penetration_mm(self, positions: Array) -> float:
        """How deep the farthest point of the surface is in the tool, mm."""
        return max(0.0, float(self.touch(positions).depth.max(initial=0.0)) - LAYER_MM / 2)

    def pressure_kPa(self, positions: Array) -> float:
        """Largest pressure of the tool, kPa."""
        return float(self._pressure(self.touch(positions).depth).max(initial=0.0))

    # ------------------------------------------------------------------ friction

    def _slip(self, positions: Array, stuck: Stuck) -> tuple[Array, Array, Array]:
        """Slip of the points that stick (k, 3), limit of their friction, mN (k,), and projection along the tool."""
        across = np.eye(3) - stuck.normal[:, :, None] * stuck.normal[:, None, :]
        held = stuck.anchor @ self.tool.rotation.T + self.tool.position_mm
        shares, corners = self.surface.shares[stuck.point], positions[self.surface.facets[stuck.rows]]
        place = np.einsum("ka,kai->ki", shares, corners)
        return np.einsum("kij,kj->ki", across, place - held), self.friction * stuck.load_mN, across

    def _rub_stiffness(self, positions: Array, stuck: Stuck) -> Array:
        slip, limit, across = self._slip(positions, stuck)
        size = np.linalg.norm(slip, axis=1)
        direction = slip / np.maximum(size, 1e-300)[:, None]
        slides = (size > SLIP_MM)[:, None, None]
        along = slides * direction[:, :, None] * direction[:, None, :]
        return (limit / np.maximum(size, SLIP_MM))[:, None, None] * (across - along)

    def begun(self, positions: Array, seconds: float) -> LiveContact:
        """With friction: the pressure that limits it during the step is that of now."""
        if not self.friction:
            return self
        touch = self.touch(positions)
        anchor = (touch.place - self.tool.position_mm) @ self.tool.rotation
        if self.stuck is not None:
            q = len(self.surface.shares)
            known, now = self.stuck.rows * q + self.stuck.point, touch.rows * q + touch.point
            _, before, after = np.intersect1d(known, now, return_indices=True)
            anchor[after] = self.stuck.anchor[before]
        load = touch.weight * self._pressure(touch.depth)
        normal = touch.normal / np.linalg.norm(touch.normal, axis=1, keepdims=True)
        return replace(self, stuck=Stuck(touch.rows, touch.point, anchor, load, normal))

    def committed(self, positions: Array, time_s: float) -> LiveContact:
        """With friction: points that slid stick where they have come to."""
        if self.stuck is None:
            return self
        slip = self._slip(positions, self.stuck)[0]
        size = np.linalg.norm(slip, axis=1)
        if not (size > SLIP_MM).any():
            return self
        over = np.maximum(1.0 - SLIP_MM / np.maximum(size, 1e-300), 0.0)[:, None] * slip
        return replace(self, stuck=replace(self.stuck, anchor=self.stuck.anchor + over @ self.tool.rotation))

    # ------------------------------------------------------------------ topology

    def carried(self, change: TopologyChange) -> LiveContact:
        """The same tool on another mesh; points on facets that were cut stick anew."""
        reference = change.interpolate(self.reference)
        surface = TouchedSurface.of(change.after.exterior, reference, self.tool.size_mm)
        stuck = self.stuck
        if stuck is not None:
            stuck = self._carried_points(stuck, change, surface)
        return replace(self, surface=surface, reference=reference, stuck=stuck)

    def _carried_points(self, stuck: Stuck, change: TopologyChange, surface: TouchedSurface) -> Stuck | None:
        if len(self.surface.shares) != len(surface.shares):
            return None
        parts = change.facet_parts(self.surface.facets)
        same = (change.weight[surface.facets] == 0).all(axis=1) & (parts >= 0)
        corners = change.parents[surface.facets, 0]
        same[same] = (corners[same] == self.surface.facets[parts[same]]).all(axis=1)
        following = np.full(len(self.surface.facets), -1)
        following[parts[same]] = np.flatnonzero(same)
        kept = following[stuck.rows] >= 0
        return Stuck(
            following[stuck.rows[kept]], stuck.point[kept], stuck.anchor[kept], stuck.load_mN[kept],
            stuck.normal[kept],
        )  # fmt: skip
