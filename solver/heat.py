"""Heat in living tissue: conduction, cooling by blood, and the death of cells in the heat.

Pennes' equation (1948, J Appl Physiol 1:93)

    ρ c ∂T/∂t = div(k grad T) + ω ρ_b c_b (T_a − T) + q

has tissue conduct heat and blood carry it away: blood enters at the arterial temperature T_a at the rate ω (volume of
blood per volume of tissue and second) and leaves as warm as the tissue. In the steady state a heated spot decays over
the length √(k / (ω ρ_b c_b)), 3 mm in liver. The equation is stepped in time by the θ-scheme (θ = 1: implicit Euler;
½: Crank–Nicolson) on linear tetrahedra.

Cells die by a reaction of first order, dΩ/dt = A exp(−E_a/(R T)) (Henriques & Moritz 1947, Am J Pathol 23:531); a
share exp(−Ω) survives, 37 % at Ω = 1. Where vessels coagulate blood no longer flows: the perfusion falls with the
share that survives (Schutt & Haemmerich 2008, Med Phys 35:3462, compare this with other choices).

Water that boils takes up heat that this equation does not know: above 100 °C its temperatures are too high.
Units: mm, s, W, °C; tissue constants in the units they are published in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import diags_array

from anatomy.mesh import OrganMesh
from anatomy.progress import Progress, silent
from solver.diffusion import Diffusion, implicit_solve
from solver.errors import SolverError
from solver.tissues import ThermalConstants, blood, tissue_of

Array = NDArray[np.float64]
Index = NDArray[np.int64]

GAS_CONSTANT_J_MOL_K = 8.314462618
KELVIN_AT_0_C = 273.15
BODY_TEMPERATURE_C = 37.0


@dataclass(frozen=True)
class Arrhenius:
    """Damage of tissue by heat, dΩ/dt = A exp(−E_a/(R T)).

    Parameters
    ----------
    frequency_1_s : float
        A. The default is liver (Chang & Nguyen 2004, Biomed Eng Online 3:27, after Jacques 1996).
    activation_J_mol : float
        E_a; default as above.
    threshold_C : float
        Below it nothing dies. Constants are fitted to fast coagulation; extrapolated to body temperature those of liver
        would kill healthy tissue within an hour. The default is the breakpoint of thermal dose (Sapareto & Dewey
        1984, Int J Radiat Oncol Biol Phys 10:787).
    """

    frequency_1_s: float = 7.39e39
    activation_J_mol: float = 2.577e5
    threshold_C: float = 43.0

    def __post_init__(self) -> None:
        for name in ("frequency_1_s", "activation_J_mol"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise SolverError(f"Arrhenius: {name} is {value:g}; it must be a positive number.")

    def rate(self, temperature_C: ArrayLike) -> Array:
        """dΩ/dt in 1/s at temperatures of any shape."""
        kelvin = np.asarray(temperature_C, dtype=np.float64) + KELVIN_AT_0_C
        rate = self.frequency_1_s * np.exp(-self.activation_J_mol / (GAS_CONSTANT_J_MOL_K * kelvin))
        return np.where(np.asarray(temperature_C) < self.threshold_C, 0.0, rate)

    def increase(self, before_C: Array, after_C: Array, seconds: float) -> Array:
        """Ω gained over a step in which the temperature changes linearly: three Gauss points."""
        nodes, weights = np.polynomial.legendre.leggauss(3)
        rates = [
            w / 2 * self.rate(before_C + (s + 1) / 2 * (after_C - before_C))
            for s, w in zip(nodes, weights, strict=True)
        ]
        return seconds * np.sum(rates, axis=0)


@dataclass(frozen=True, eq=False)
class HeatState:
    """Temperature of an organ at one time.

    Parameters
    ----------
    time_s : float
    temperature_C : ndarray, shape (n,), float64
        At the organ's vertices.
    damage : ndarray, shape (n,), float64
        Arrhenius integral Ω at the vertices.
    """

    time_s: float
    temperature_C: Array
    damage: Array

    @property
    def surviving(self) -> Array:
        """Share of the cells that live, exp(−Ω), shape (n,)."""
        return np.exp(-self.damage)

    @property
    def dead(self) -> NDArray[np.bool_]:
        """Vertices where Ω has reached one, shape (n,)."""
        return self.damage >= 1.0


Source = Callable[[Array, float], ArrayLike]


class Bioheat:
    """Pennes' equation on an organ.

    Parameters
    ----------
    organ : OrganMesh
        In the shape that is heated, mm; its outer surface is insulated where nothing holds it.
    thermal : mapping of structure name to ThermalConstants, optional
        Replaces the published constants of single structures.
    damage : Arrhenius, optional
        How tissue dies; default that of liver. None for tissue that does not.
    arterial_C : float
        Temperature of arterial blood.
    vessels : iterable of str
        Structures that stay at the temperature of blood: vessels too large to be warmed.
    held : (vertices, temperatures), optional
        Vertices, shape (k,), that are held at temperatures in °C, shape (k,) or one for all.

    Raises
    ------
    SolverError
        If a structure has no thermal constants, or the input is malformed.
    """

    def __init__(
        self,
        organ: OrganMesh,
        thermal: Mapping[str, ThermalConstants] | None = None,
        damage: Arrhenius | None = Arrhenius(),
        arterial_C: float = BODY_TEMPERATURE_C,
        vessels: Iterable[str] = (),
        held: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> None:
        self.organ, self.damage, self.arterial_C = organ, damage, float(arterial_C)
        self._diffusion = Diffusion(organ)
        constants = _constants(organ, thermal)
        carried = blood().heat_per_volume_J_mm3_K
        by_structure = self._diffusion.by_structure
        capacity = by_structure({n: c.heat_per_volume_J_mm3_K for n, c in constants.items()})
        perfused = by_structure({n: c.perfusion_1_s * carried for n, c in constants.items()})
        conductivity = by_structure({n: c.conductivity_W_m_K * 1e-3 for n, c in constants.items()})
        self._capacity = self._diffusion.at_vertices(capacity)
        self._perfused = self._diffusion.at_vertices(perfused)
        self._conduction = self._diffusion.stiffness(conductivity)
        self._volume = self._diffusion.at_vertices(np.ones(len(organ.tets)))
        self._hold(set(vessels), held)

    def _hold(self, vessels: set[str], held: tuple[ArrayLike, ArrayLike] | None) -> None:
        """Vertices whose temperature is given, and the temperatures; those of `held` win over vessels."""
        unknown = sorted(vessels - set(self.organ.structures.values()))
        if unknown:
            raise SolverError(f"The organ has no vessel '{unknown[0]}' to hold at the temperature of blood.")
        wanted = np.full(len(self.organ.points), np.nan)
        wanted[self._diffusion.vertices_of(vessels)] = self.arterial_C
        if held is not None:
            vertices = np.atleast_1d(np.asarray(held[0], dtype=np.int64))
            if len(vertices) and (vertices.min() < 0 or vertices.max() >= len(wanted)):
                raise SolverError(f"A vertex with a held temperature is outside 0…{len(wanted) - 1}.")
            wanted[vertices] = held[1]
        self._held = np.flatnonzero(np.isfinite(wanted))
        self._held_C = wanted[self._held]

    def begin(self, temperature_C: ArrayLike | None = None) -> HeatState:
        """State at time zero, undamaged; default everywhere as warm as blood."""
        n = len(self.organ.points)
        start = np.full(n, self.arterial_C) if temperature_C is None else temperature_C
        temperature = np.broadcast_to(np.asarray(start, dtype=np.float64), (n,)).copy()
        temperature[self._held] = self._held_C
        return HeatState(0.0, temperature, np.zeros(n))

    def power_W(self, source: Source, time_s: float = 0.0) -> float:
        """Power of a source as the mesh sees it, W: compare it with what the applicator gives off."""
        return float(self._heating(source, time_s).sum())

    def steady(self, source: Source | None = None) -> Array:
        """Temperature at the vertices, °C, that a source holds in living tissue, shape (n,).

        Raises
        ------
        SolverError
            If neither blood nor a held temperature carries the heat away.
        """
        if not len(self._held) and not self._perfused.any():
            raise SolverError(
                "Nothing carries the heat away; hold a temperature, or give tissue that is perfused."
            )
        matrix = self._conduction + diags_array(self._perfused)
        load = self._heating(source, 0.0) + self._perfused * self.arterial_C
        return implicit_solve(matrix.tocsr(), load, self.begin().temperature_C, self._held)

    def step(
        self, state: HeatState, seconds: float, source: Source | None = None, theta: float = 1.0
    ) -> HeatState:
        """State after one time step.

        Parameters
        ----------
        state : HeatState
        seconds : float
            Length of the step.
        source : callable, optional
            From points, shape (n, 3), mm, and the time in s to heat given off per volume, W/mm³, shape (n,) or
            one number.
        theta : float
            ½ to 1: Crank–Nicolson, of second order, to implicit Euler, which never overshoots.

        Raises
        ------
        SolverError
            If the step or θ is out of range.
        """
        if not (math.isfinite(seconds) and seconds > 0):
            raise SolverError(f"A time step is {seconds:g} s; it must be positive.")
        if not 0.5 <= theta <= 1.0:
            raise SolverError(f"θ is {theta:g}; it lies between 0.5 and 1.")
        # Perfusion of the start of the step: what dies in it stops bleeding with the next.
        perfused = self._perfused * state.surviving
        loss = (self._conduction + diags_array(perfused)).tocsr()
        capacity = self._capacity / seconds
        old = state.temperature_C
        gain = perfused * self.arterial_C + self._heating(source, state.time_s + theta * seconds)
        load = capacity * old - (1 - theta) * (loss @ old) + gain
        matrix = (diags_array(capacity) + theta * loss).tocsr()
        start = old.copy()
        start[self._held] = self._held_C
        new = implicit_solve(matrix, load, start, self._held)
        damage = state.damage
        if self.damage is not None:
            damage = damage + self.damage.increase(old, new, seconds)
        return HeatState(state.time_s + seconds, new, damage)

    def run(
        self,
        duration_s: float,
        step_s: float,
        source: Source | None = None,
        start: HeatState | None = None,
        theta: float = 1.0,
        progress: Progress = silent,
    ) -> HeatState:
        """State after a time, in steps of at most `step_s`; arguments as in `step`."""
        if not (duration_s > 0 and step_s > 0):
            raise SolverError(
                f"Heating for {duration_s:g} s in steps of {step_s:g} s; both must be positive."
            )
        state = self.begin() if start is None else start
        count = math.ceil(duration_s / step_s - 1e-9)
        for done in range(count):
            state = self.step(state, duration_s / count, source, theta)
            progress("heating", (done + 1) / count)
        return state

    def _heating(self, source: Source | None, time_s: float) -> Array:
        """Power given off in the volume of each vertex, W."""
        if source is None:
            return np.zeros(len(self._volume))
        density = np.broadcast_to(
            np.asarray(source(self.organ.points, time_s), dtype=np.float64), self._volume.shape
        )
        if not np.isfinite(density).all():
            raise SolverError("The heat source is not finite everywhere; give W/mm³ at every point.")
        return density * self._volume


def _constants(
    organ: OrganMesh, thermal: Mapping[str, ThermalConstants] | None
) -> dict[str, ThermalConstants]:
    """Thermal constants of every structure that has tetrahedra."""
    found = dict(thermal or {})
    unknown = sorted(set(found) - set(organ.structures.values()))
    if unknown:
        raise SolverError(f"Thermal constants are given for '{unknown[0]}', which the organ does not have.")
    present = np.bincount(organ.region, minlength=256) > 0
    for label, name in organ.structures.items():
        if present[label] and name not in found:
            found[name] = _published(name)
    return found


def _published(structure: str) -> ThermalConstants:
    """Thermal constants of the tissue that a structure is made of by default."""
    try:
        constants = tissue_of(structure).thermal
    except SolverError:
        constants = None
    if constants is None:
        raise SolverError(
            f"No thermal constants are published for the structure '{structure}'; "
            f"give them with Bioheat(organ, thermal={{'{structure}': …}})."
        )
    return constants
