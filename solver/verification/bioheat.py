"""Heat in tissue: how far it reaches through perfused liver, how fast it spreads, and when it kills.

Pennes' equation in a bar of liver that is warmed at one end settles to an exponential of the length √(k/(ω ρ_b c_b)).
A cosine along an insulated bar dies away as exp(−(κ (π/L)² + ω ρ_b c_b/(ρ c)) t), with the diffusivity κ = k/(ρ c).
Tissue held at a temperature reaches the Arrhenius integral one after 1/(A exp(−E_a/(R T))).
"""

from __future__ import annotations

import numpy as np

from solver.heat import BODY_TEMPERATURE_C, Bioheat
from solver.tissues import blood, table
from solver.verification.blocks import kuhn_block
from solver.verification.row import Row

CLOSED = "closed form"
TIME_TO_DEATH_S = {50: 61.4, 60: 3.45, 70: 0.229}


def decay_length(length_mm: float = 30.0, edge_mm: float = 0.25) -> float:
    """Length over which the steady temperature of the bar falls by e, mm, from its values at 3 and 9 mm."""
    organ = kuhn_block((length_mm, edge_mm, edge_mm), (round(length_mm / edge_mm), 1, 1), {1: "liver"})
    x = organ.points[:, 0]
    warm = np.flatnonzero(x == 0)
    rise = Bioheat(organ, held=(warm, BODY_TEMPERATURE_C + 10)).steady() - BODY_TEMPERATURE_C
    near, far = (rise[np.isclose(x, at)].mean() for at in (3.0, 9.0))
    return float(6.0 / np.log(near / far))


def cosine_rate(theta: float, step_s: float, cells: int = 64, length_mm: float = 20.0) -> float:
    """Rate at which a cosine dies away along an insulated bar of liver, 1/s, over 20 s."""
    edge = length_mm / cells
    organ = kuhn_block((length_mm, edge, edge), (cells, 1, 1), {1: "liver"})
    heat = Bioheat(organ, damage=None)
    wave = np.cos(np.pi * organ.points[:, 0] / length_mm)
    state = heat.run(20.0, step_s, start=heat.begin(BODY_TEMPERATURE_C + wave), theta=theta)
    rise = state.temperature_C - BODY_TEMPERATURE_C
    return float(-np.log(rise @ wave / (wave @ wave)) / 20.0)


def exact_rate(length_mm: float = 20.0) -> float:
    """The same in closed form."""
    liver = table().thermal["liver"]
    conduction = liver.conductivity_W_m_K * 1e-3 * (np.pi / length_mm) ** 2
    cooling = liver.perfusion_1_s * blood().heat_per_volume_J_mm3_K
    return float((conduction + cooling) / liver.heat_per_volume_J_mm3_K)


def time_to_death(temperature_C: float, steps: int = 50) -> float:
    """When the Arrhenius integral of tissue held at a temperature reaches one, s, in steps of one fiftieth of it."""
    organ = kuhn_block((2, 2, 2), (1, 1, 1), {1: "liver"})
    everywhere = np.arange(len(organ.points))
    heat = Bioheat(organ, held=(everywhere, temperature_C))
    step = TIME_TO_DEATH_S[int(temperature_C)] / steps
    state = heat.begin()
    while state.damage.max() < 1.0:
        before, state = state, heat.step(state, step)
    gained = state.damage[0] - before.damage[0]
    return float(before.time_s + (1.0 - before.damage[0]) / gained * step)


def run() -> list[Row]:
    """Decay length, times to death, and the accuracy in time."""
    rows = [Row.compare("Pennes", "decay length in liver (mm)", decay_length(), 2.98, 0.01, CLOSED)]
    for temperature, reference in TIME_TO_DEATH_S.items():
        quantity = f"liver, time to Ω = 1 at {temperature} °C (s)"
        rows.append(Row.compare("Arrhenius", quantity, time_to_death(temperature), reference, 0.01, CLOSED))
    exact = exact_rate()
    quantity = "cosine in liver, rate of decay, Crank–Nicolson (1/s)"
    rows.append(Row.compare("Pennes", quantity, cosine_rate(0.5, 0.5), exact, 1e-3, CLOSED))
    for theta, order, name in ((1.0, 1, "implicit Euler"), (0.5, 2, "Crank–Nicolson")):
        # Against the same mesh at a vanishing time step: only the error in time is left.
        settled = cosine_rate(0.5, 0.1)
        coarse, fine = (abs(cosine_rate(theta, step) - settled) for step in (4.0, 2.0))
        value = float(np.log2(coarse / fine))
        rows.append(Row.at_least("Pennes", f"order in time, {name}", value, order, 0.1, "theory"))
    return rows
