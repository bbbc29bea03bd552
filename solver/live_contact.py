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
from solver.tools import Tool, TouchedSurface
from solver.topology import TopologyChange

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

LAYER_MM = 0.02
# Pressure at which the gap is zero (ε h/8), over the shear modulus of the stiffest tissue.
ONSET_PRESSURE = 2.5
SLIP_MM = 0.02
# Largest way between two iterations over the tool's half-thickness; it waits while the tissue is deeper than a quarter.
LONGEST_WAY, DEEPEST = 0.5, 0.25


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
    """Where points stick to the tool: shape (f, q, 3) in the tool's frame, NaN where they do not touch it.

    `pressure_kPa` and `normal` are those of the beginning of the step, shapes (f, q) and (f, q, 3).
    """

    anchor: Array
    pressure_kPa: Array
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
        return cls(
            name, tool, tool.position_mm, surface, body.reference_points, penalty, float(friction)
        )

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
        hop = LONGEST_WAY * self.tool.size_mm
        if length > hop:
            way = way * self._free_share(positions, way, length, hop)
        if not np.any(way):
            return self
        return replace(self, tool=self.tool.at(self.tool.position_mm + way))

    def _free_share(self, positions: Array, way: Array, length: float, hop: float) -> float:
        """Share of a long way that the tool may go: to the first place where it touches, and a hop beyond."""
        start, hops = self.tool.position_mm, int(np.ceil(length / hop))
        if not len(self.surface.near(self.tool, positions, LAYER_MM, way)):
            return 1.0
        touch = self.touch(positions)
        if len(touch.depth) and touch.depth.max() > DEEPEST * self.tool.size_mm + LAYER_MM:
            return 0.0
        for k in range(hops):
            there = replace(self, tool=self.tool.at(start + way * (k / hops)))
            if len(there.touch(positions).depth):
                return (k + 1) / hops
        return 1.0

    def allowed_share(self, positions: Array, step: Array) -> float:
        """Share of a step of the tissue, 0 to 1, in which no facet beside the tool moves farther than it may."""
        limit = LONGEST_WAY * self.tool.size_mm
        longest = float(np.sqrt((step**2).sum(axis=1).max()))
        if longest <= limit:
            return 1.0
        rows = self.surface.near(self.tool, positions, min(longest, 20.0))
        if not len(rows):
            return 1.0
        moved = np.sqrt((step[self.surface.facets[rows]] ** 2).sum(axis=2).max())
        return min(1.0, limit / max(float(moved), 1e-300))

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
        onset = depth < LAYER_MM
        return self.penalty_kPa_mm * np.where(onset, depth**2 / (2 * LAYER_MM), depth - LAYER_MM / 2)

    def evaluate(self, positions: Array) -> tuple[float, Array]:
        """Energy, µJ, and its gradient, mN, shape (n, 3)."""
        touch = self.touch(positions)
        gradient = np.zeros_like(positions)
        d, h = touch.depth, LAYER_MM
        if not len(d):
            return 0.0, gradient
        density = np.where(d < h, d**3 / (6 * h), d**2 / 2 - d * h / 2 + h**2 / 6)
        energy = self.penalty_kPa_mm * float(touch.weight @ density)
        force = (touch.weight * self._pressure(d))[:, None] * touch.normal
        if self.stuck is not None:
            more, rubbed = self._rub(touch, self.stuck)
            energy, force = energy + more, force + rubbed
        nodal = self.surface.shares[touch.point][:, :, None] * force[:, None, :]
        np.subtract.at(gradient, self.surface.facets[touch.rows].ravel(), nodal.reshape(-1, 3))
        return energy, gradient

    def coupled_stiffness(self, positions: Array, convex: bool = False) -> tuple[Ints, Array]:
        """Second derivative of the energy among the vertices that touch; without the tool's roundness if convex."""
        touch = self.touch(positions)
        p = touch.weight * self._pressure(touch.depth)
        slope = touch.weight * self.penalty_kPa_mm * np.minimum(touch.depth / LAYER_MM, 1.0)
        along = touch.normal[:, :, None] * touch.normal[:, None, :]
        blocks = slope[:, None, None] * along
        if not convex:
            blocks -= p[:, None, None] * touch.curvature
        if self.stuck is not None:
            blocks = blocks + self._rub_stiffness(touch, self.stuck)
        corners = self.surface.facets[touch.rows]
        vertices, number = np.unique(corners, return_inverse=True)
        number, k = number.reshape(-1, 3), len(vertices)
        shares = self.surface.shares[touch.point]
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

    def penetration_mm(self, positions: Array) -> float:
        """How deep the farthest point of the surface is in the tool, mm."""
        return max(0.0, float(self.touch(positions).depth.max(initial=0.0)) - LAYER_MM / 2)

    def pressure_kPa(self, positions: Array) -> float:
        """Largest pressure of the tool, kPa."""
        return float(self._pressure(self.touch(positions).depth).max(initial=0.0))

    # ------------------------------------------------------------------ friction

    def _slip(self, touch: Touch, stuck: Stuck) -> tuple[Array, Array, Array, Array]:
        """Of the points that stick: rows of `touch`, slip along the tool (k, 3), limit mN (k,), projection (k, 3, 3)."""
        anchor = stuck.anchor[touch.rows, touch.point]
        rows = np.flatnonzero(np.isfinite(anchor[:, 0]))
        at = (touch.rows[rows], touch.point[rows])
        normal = stuck.normal[at]
        across = np.eye(3) - normal[:, :, None] * normal[:, None, :]
        held = anchor[rows] @ self.tool.rotation.T + self.tool.position_mm
        slip = np.einsum("kij,kj->ki", across, touch.place[rows] - held)
        return rows, slip, self.friction * touch.weight[rows] * stuck.pressure_kPa[at], across

    def _rub(self, touch: Touch, stuck: Stuck) -> tuple[float, Array]:
        rows, slip, limit, _ = self._slip(touch, stuck)
        size = np.linalg.norm(slip, axis=1)
        density = np.where(size < SLIP_MM, size**2 / (2 * SLIP_MM), size - SLIP_MM / 2)
        force = np.zeros_like(touch.place)
        force[rows] = -(limit / np.maximum(size, SLIP_MM))[:, None] * slip
        return float(limit @ density), force

    def _rub_stiffness(self, touch: Touch, stuck: Stuck) -> Array:
        rows, slip, limit, across = self._slip(touch, stuck)
        size = np.linalg.norm(slip, axis=1)
        direction = slip / np.maximum(size, 1e-300)[:, None]
        slides = (size > SLIP_MM)[:, None, None]
        blocks = np.zeros((len(touch.rows), 3, 3))
        blocks[rows] = (limit / np.maximum(size, SLIP_MM))[:, None, None] * (
            across - slides * direction[:, :, None] * direction[:, None, :]
        )
        return blocks

    def begun(self, positions: Array, seconds: float) -> LiveContact:
        """With friction: the pressure that limits it during the step is that of now."""
        if not self.friction:
            return self
        touch = self.touch(positions)
        shape = (len(self.surface.facets), len(self.surface.shares))
        anchor, normal = np.full((*shape, 3), np.nan), np.zeros((*shape, 3))
        pressure = np.zeros(shape)
        at = (touch.rows, touch.point)
        pressure[at], normal[at] = self._pressure(touch.depth), touch.normal
        here = (touch.place - self.tool.position_mm) @ self.tool.rotation
        before = np.full_like(here, np.nan) if self.stuck is None else self.stuck.anchor[at]
        anchor[at] = np.where(np.isfinite(before), before, here)
        return replace(self, stuck=Stuck(anchor, pressure, normal))

    def committed(self, positions: Array, time_s: float) -> LiveContact:
        """With friction: points that slid stick where they have come to."""
        if self.stuck is None:
            return self
        touch = self.touch(positions)
        rows, slip, _, _ = self._slip(touch, self.stuck)
        size = np.linalg.norm(slip, axis=1)
        over = np.maximum(1.0 - SLIP_MM / np.maximum(size, 1e-300), 0.0)[:, None] * slip
        anchor = np.full_like(self.stuck.anchor, np.nan)
        at = (touch.rows[rows], touch.point[rows])
        anchor[at] = self.stuck.anchor[at] + over @ self.tool.rotation
        return replace(self, stuck=replace(self.stuck, anchor=anchor))

    # ------------------------------------------------------------------ topology

    def carried(self, change: TopologyChange) -> LiveContact:
        """The same tool on another mesh; points on facets that were cut stick anew."""
        reference = change.interpolate(self.reference)
        surface = TouchedSurface.of(change.after.exterior, reference, self.tool.size_mm)
        stuck = self.stuck
        if stuck is not None:
            before = change.facet_parts(self.surface.facets)
            whole = (change.weight[surface.facets] == 0).all(axis=1) & (before >= 0)
            same = np.zeros(len(before), dtype=bool)
            corners = change.parents[surface.facets, 0]
            same[whole] = (corners[whole] == self.surface.facets[before[whole]]).all(axis=1)
            kept = len(self.surface.shares) == len(surface.shares)
            stuck = stuck_on(stuck, np.where(same, before, -1)) if kept else None
        return replace(self, surface=surface, reference=reference, stuck=stuck)


def stuck_on(stuck: Stuck, rows: Ints) -> Stuck:
    """What is known of facets, on facets that were the given rows before, −1 for new ones."""
    known = (rows >= 0)[:, None]
    return Stuck(
        np.where(known[..., None], stuck.anchor[rows], np.nan),
        np.where(known, stuck.pressure_kPa[rows], 0.0),
        np.where(known[..., None], stuck.normal[rows], 0.0),
    )
