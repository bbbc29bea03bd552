"""HeatGrid: Pennes' equation around an applicator, on a regular grid, fast enough to run beside the mechanics.

The equation and its damage are those of `solver.heat`. Heat varies over the decay length √(k/(ω ρ_b c_b)), 3 mm in
liver, which a mechanical mesh of some millimetres cannot follow; a regular grid around the applicator can. In each cell

    ρ c dT/dt = Σ k_f (T' − T)/h² + ω s ρ_b c_b (T_a − T) + g (T_b − T)/h³ + q,

k_f the harmonic mean of the conductivities on both sides of a face (Patankar 1980, Numerical Heat Transfer and Fluid
Flow, ch. 4), s the share of cells that live, so that perfusion stops as tissue dies, and g the conductance to the
vessels that run through the cell. Where no tissue is nothing flows. Steps are explicit, of half the length at which
they would grow. Water boils at 100 °C: a cell stays there until what is above has been spent on the heat of
vaporisation of its water; beyond, dry tissue goes on warming.

Blood that passes a heated stretch of a vessel has no time to warm through: heat crosses the wall by the laminar
entrance law Nu = 1.86 (Re Pr d/L)^⅓ (Sieder & Tate 1936, Ind Eng Chem 28:1429), never less than the 3.66 of developed
flow (Incropera & DeWitt, Fundamentals of Heat and Mass Transfer, ch. 8), and the conductance per length is Nu π k_b.
The speed of 0.2 m/s is that of portal and hepatic veins at rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numba
import numpy as np
from numpy.typing import NDArray

from solver.errors import SolverError
from solver.heat import BODY_TEMPERATURE_C, GAS_CONSTANT_J_MOL_K, KELVIN_AT_0_C, Arrhenius
from solver.tissues import ThermalConstants, blood

Array = NDArray[np.float64]

#: Nusselt number of laminar developed flow at constant wall temperature.
DEVELOPED_NUSSELT = 3.66
#: Blood in a large vein of the liver: speed, viscosity, and the length over which an ablation heats it.
SPEED_M_S, VISCOSITY_PA_S, HEATED_LENGTH_MM = 0.2, 3.5e-3, 40.0
BOILING_C = 100.0
#: Share of a tissue's mass that is water (liver; Duck 1990, Physical Properties of Tissue, ch. 9) and water's heat
#: of vaporisation at 100 °C, J/kg.
WATER_SHARE, VAPORISATION_J_KG = 0.72, 2.257e6


def vessel_conductance_W_mm_K(calibre_mm: Array) -> Array:
    """Heat a vessel in which blood flows takes up per length and kelvin, W/(mm K).

    Parameters
    ----------
    calibre_mm : ndarray
        Diameter.
    """
    constants = blood()
    reynolds = constants.density_kg_m3 * SPEED_M_S * calibre_mm * 1e-3 / VISCOSITY_PA_S
    prandtl = constants.specific_heat_J_kg_K * VISCOSITY_PA_S / constants.conductivity_W_m_K
    entrance = 1.86 * np.cbrt(reynolds * prandtl * calibre_mm / HEATED_LENGTH_MM)
    return np.maximum(DEVELOPED_NUSSELT, entrance) * np.pi * constants.conductivity_W_m_K * 1e-3


@dataclass(frozen=True, eq=False)
class HeatGrid:
    """Temperatures of tissue around an applicator; a value.

    Parameters
    ----------
    origin_mm : ndarray, shape (3,)
        Centre of the first cell, LPS mm.
    edge_mm : float
    tissue : ndarray of int16, shape (a, b, c)
        Number in `constants` of the tissue of each cell, −1 where there is none.
    constants : tuple of ThermalConstants
    perfused : ndarray of float64, shape (a, b, c)
        Share of its normal perfusion each cell has: 0 where the inflow is clamped.
    sink_W_K : ndarray of float64, shape (a, b, c)
        Conductance to vessels with flowing blood.
    power_W : ndarray of float64, shape (a, b, c)
        Power the applicator gives to each cell when it is on.
    temperature_C, damage, boiled_J_mm3 : ndarray of float64, shape (a, b, c), optional
        State; by default as warm as blood, unharmed. `boiled_J_mm3` is what the water that has boiled away took up.
    time_s : float
    rates : Arrhenius
    """

    origin_mm: Array
    edge_mm: float
    tissue: NDArray[np.int16]
    constants: tuple[ThermalConstants, ...]
    perfused: Array
    sink_W_K: Array
    power_W: Array
    temperature_C: Array = field(default_factory=lambda: np.zeros(0))
    damage: Array = field(default_factory=lambda: np.zeros(0))
    boiled_J_mm3: Array = field(default_factory=lambda: np.zeros(0))
    time_s: float = 0.0
    rates: Arrhenius = field(default_factory=Arrhenius)

    def __post_init__(self) -> None:
        shape = self.tissue.shape
        if not self.temperature_C.size:
            object.__setattr__(self, "temperature_C", np.full(shape, BODY_TEMPERATURE_C))
            object.__setattr__(self, "damage", np.zeros(shape))
            object.__setattr__(self, "boiled_J_mm3", np.zeros(shape))

    @property
    def cell_ml(self) -> float:
        """Volume of a cell, ml."""
        return self.edge_mm**3 / 1000.0

    @property
    def dead(self) -> NDArray[np.bool_]:
        """Cells of tissue whose Arrhenius integral has reached one."""
        return (self.damage >= 1.0) & (self.tissue >= 0)

    def centres(self) -> Array:
        """Centres of all cells, shape (a b c, 3), LPS mm."""
        return grid_points(self.origin_mm, self.edge_mm, self.tissue.shape)

    def longest_step_s(self) -> float:
        """Half the longest step that does not grow, s."""
        capacity, conductivity, perfusion, _ = self._per_tissue()
        faces = 6.0 * conductivity.max() / self.edge_mm**2
        sinks = self.sink_W_K.max() / self.edge_mm**3
        return 0.5 * float(2.0 * capacity.min() / (2.0 * faces + perfusion.max() + sinks))

    def _per_tissue(self) -> tuple[Array, Array, Array, Array]:
        """Capacity J/(mm³ K), conductivity W/(mm K), perfusion W/(mm³ K) and heat to boil dry J/mm³ of each tissue."""
        carried = blood().heat_per_volume_J_mm3_K
        return (
            np.array([c.heat_per_volume_J_mm3_K for c in self.constants]),
            np.array([c.conductivity_W_m_K * 1e-3 for c in self.constants]),
            np.array([c.perfusion_1_s * carried for c in self.constants]),
            np.array([c.density_kg_m3 * 1e-9 * WATER_SHARE * VAPORISATION_J_KG for c in self.constants]),
        )

    def heated(self, seconds: float, power_share: float = 1.0) -> HeatGrid:
        """The grid after some time with the applicator at a share of its power.

        Parameters
        ----------
        seconds : float
        power_share : float
            0 with the applicator off.

        Raises
        ------
        SolverError
            If the time is not positive.
        """
        if not (np.isfinite(seconds) and seconds > 0):
            raise SolverError(f"The tissue is heated for {seconds:g} s; the time must be positive.")
        steps = int(np.ceil(seconds / self.longest_step_s() - 1e-9))
        temperature, damage, boiled = self.temperature_C.copy(), self.damage.copy(), self.boiled_J_mm3.copy()
        _heat(
            self.tissue, *self._per_tissue(), self.perfused, self.sink_W_K, self.power_W * power_share,
            self.edge_mm, seconds / steps, steps, BODY_TEMPERATURE_C,
            np.log(self.rates.frequency_1_s), self.rates.activation_J_mol / GAS_CONSTANT_J_MOL_K,
            self.rates.threshold_C, BOILING_C, KELVIN_AT_0_C, temperature, damage, boiled,
        )  # fmt: skip
        return replace(
            self, temperature_C=temperature, damage=damage, boiled_J_mm3=boiled, time_s=self.time_s + seconds
        )

    def at(self, points_mm: Array) -> tuple[Array, Array]:
        """Temperature, °C, and damage at points, shape (k,) each: of the cell each lies in; body heat outside."""
        index = np.rint((points_mm - self.origin_mm) / self.edge_mm).astype(np.int64)
        shape = np.array(self.tissue.shape)
        inside = ((index >= 0) & (index < shape)).all(axis=1)
        i, j, k = np.clip(index, 0, shape - 1).T
        return (
            np.where(inside, self.temperature_C[i, j, k], BODY_TEMPERATURE_C),
            np.where(inside, self.damage[i, j, k], 0.0),
        )


def grid_points(origin_mm: Array, edge_mm: float, shape: tuple[int, ...]) -> Array:
    """Centres of the cells of a grid, shape (a b c, 3), in the order of a raveled array."""
    axes = [origin_mm[axis] + edge_mm * np.arange(shape[axis]) for axis in range(3)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


@numba.njit(nogil=True, cache=True)
def _heat(  # type: ignore[no-untyped-def]
    tissue, capacity, conductivity, perfusion, latent, perfused, sink, power, edge, dt, steps, arterial,
    log_frequency, activation_K, threshold, boiling, kelvin, temperature, damage, boiled,
):  # fmt: skip
    """March the three states in place."""
    a, b, c = tissue.shape
    volume = edge**3
    now = temperature
    then = temperature.copy()
    for _ in range(steps):
        for i in range(a):
            for j in range(b):
                for k in range(c):
                    mine = tissue[i, j, k]
                    if mine < 0:
                        continue
                    at, own = now[i, j, k], conductivity[mine]
                    flow = 0.0
                    for axis in range(3):
                        for side in (-1, 1):
                            x = i + side if axis == 0 else i
                            y = j + side if axis == 1 else j
                            z = k + side if axis == 2 else k
                            if x < 0 or y < 0 or z < 0 or x >= a or y >= b or z >= c:
                                # The grid ends in tissue as warm as blood.
                                flow += own * (arterial - at)
                                continue
                            other = tissue[x, y, z]
                            if other >= 0:
                                between = 2.0 * own * conductivity[other] / (own + conductivity[other])
                                flow += between * (now[x, y, z] - at)
                    alive = np.exp(-damage[i, j, k])
                    cooled = perfusion[mine] * perfused[i, j, k] * alive + sink[i, j, k] / volume
                    gain = flow / edge**2 + cooled * (arterial - at) + power[i, j, k] / volume
                    new = at + dt * gain / capacity[mine]
                    if new > boiling:
                        left = max(0.0, latent[mine] - boiled[i, j, k])
                        spent = min(capacity[mine] * (new - boiling), left)
                        boiled[i, j, k] += spent
                        new -= spent / capacity[mine]
                    then[i, j, k] = new
                    warm = 0.5 * (at + new)
                    if warm > threshold and damage[i, j, k] < 50.0:
                        damage[i, j, k] += dt * np.exp(log_frequency - activation_K / (warm + kelvin))
        for i in range(a):
            for j in range(b):
                for k in range(c):
                    if tissue[i, j, k] >= 0:
                        now[i, j, k] = then[i, j, k]
