"""Vibration: bars and layers that swing and decay as their closed forms say (Graff 1975, Wave Motion in Elastic Solids,
§ 2.4; Hughes 2000, The Finite Element Method, ch. 9).

A clamped bar without lateral contraction swings along itself with the period 4L/√(E/ρ); damping α proportional to mass
makes of it x'' + α x' + ω² x = 0. A clamped layer of height H that shears swings with ω² = k² µ/ρ, k = π/(2H), and a
Kelvin–Voigt viscosity η damps it at the rate η k²/(2ρ).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from solver.body import Body
from solver.damping import Damping
from solver.dynamics import Dynamics, Instant
from solver.materials import Compressibility, NeoHookean, SaintVenantKirchhoff
from solver.tissues import Tissue
from solver.verification.blocks import kuhn_block
from solver.verification.row import Row

Array = NDArray[np.float64]

LENGTH, YOUNG, DENSITY = 40.0, 1000.0, 1e-6
BAR_PERIOD = 4 * LENGTH / np.sqrt(YOUNG / DENSITY)
HEIGHT, SHEAR = 20.0, 2.0
# Displacements are small enough for the closed forms, which are linear.
AMPLITUDE = 1e-3


def oscillation(time_s: float, omega: float, rate: float) -> float:
    """x(t)/x(0) of x'' + 2 rate x' + omega² x = 0 from rest."""
    damped = np.sqrt(omega**2 - rate**2)
    swing = np.cos(damped * time_s) + rate / damped * np.sin(damped * time_s)
    return float(np.exp(-rate * time_s) * swing)


def swinging_bar(periods: float, steps: int, mass_per_s: float = 0.0) -> tuple[Dynamics, list[Instant]]:
    """A stretched bar let go: its movement over some periods with so many steps each."""
    organ = kuhn_block((LENGTH, 2, 2), (10, 1, 1), {1: "bar"})
    bar = Tissue("bar", SaintVenantKirchhoff(0.0, YOUNG / 2), None, DENSITY, "verification")
    clamped = np.flatnonzero(organ.points[:, 0] == 0)
    motion = Dynamics(
        Body(organ, {"bar": bar}, [], (0, 0, 0)), "P2", rho_infinity=1.0, damping=Damping(mass_per_s)
    )
    stretched = np.zeros_like(organ.points)
    stretched[:, 0] = AMPLITUDE * np.sin(np.pi * organ.points[:, 0] / (2 * LENGTH))
    motion.start(stretched)
    held = (clamped, np.zeros((len(clamped), 3)))
    return motion, list(motion.run(periods * BAR_PERIOD, BAR_PERIOD / steps, held))


def shearing_layer(viscosity_kPa_s: float, steps: int) -> tuple[list[Instant], Array]:
    """A sheared layer let go: half a period of its movement, and the displacement of its top in each frame, mm."""
    organ = kuhn_block((4, 4, HEIGHT), (1, 1, 8), {1: "layer"})
    layer = Tissue("layer", NeoHookean(SHEAR), Compressibility(50 * SHEAR), DENSITY, "verification")
    damping = Damping(viscosity_kPa_s=viscosity_kPa_s)
    motion = Dynamics(
        Body(organ, {"layer": layer}, [], (0, 0, 0)), "P2-P1", rho_infinity=1.0, damping=damping
    )
    sheared = np.zeros_like(organ.points)
    sheared[:, 1] = AMPLITUDE * np.sin(np.pi * organ.points[:, 2] / (2 * HEIGHT))
    motion.start(sheared)
    move = np.zeros_like(organ.points)
    move[organ.points[:, 2] > 0, 1] = np.nan
    half = np.pi / (np.pi / (2 * HEIGHT) * np.sqrt(SHEAR / DENSITY))
    frames = list(motion.run(half, half / steps, (np.arange(len(move)), move)))
    top = organ.points[:, 2] == HEIGHT
    return frames, np.array([f.displacement[top, 1].mean() for f in frames])


def run() -> list[Row]:
    """Period, energy and decay."""
    motion, frames = swinging_bar(1.5, 80)
    tip = int(np.argmax(motion.body.organ.points[:, 0]))
    at = np.array([f.time_s for f in frames])
    x = np.array([f.displacement[tip, 0] for f in frames])
    zero = [
        at[i] - x[i] * (at[i + 1] - at[i]) / (x[i + 1] - x[i]) for i in np.flatnonzero(x[:-1] * x[1:] < 0)
    ]
    energy = np.array([f.kinetic_energy_uJ + f.strain_energy_uJ for f in frames])
    omega = 2 * np.pi / BAR_PERIOD
    _, damped = swinging_bar(1.0, 80, mass_per_s=0.2 * omega)
    k = np.pi / (2 * HEIGHT)
    swing, viscosity = k * np.sqrt(SHEAR / DENSITY), 0.2 * np.sqrt(SHEAR * DENSITY) / k
    layer, top = shearing_layer(viscosity, 40)
    bar_source, source = "Graff 1975, § 2.4", "closed form"
    return [
        Row.compare(
            "vibration", "period of a bar (ms)", 1e3 * (zero[2] - zero[0]), 1e3 * BAR_PERIOD, 1e-3, bar_source
        ),
        Row.compare(
            "vibration",
            "its energy after 1.5 periods over that before",
            energy[-1] / energy[0],
            1.0,
            1e-6,
            source,
        ),
        Row.compare(
            "vibration",
            "a bar damped by its mass, after a period (share of the start)",
            damped[-1].displacement[tip, 0] / AMPLITUDE,
            oscillation(damped[-1].time_s, omega, 0.1 * omega),
            5e-3,
            source,
        ),
        Row.compare(
            "vibration",
            "a viscous layer in shear, after half a period (share of the start)",
            top[-1] / AMPLITUDE,
            oscillation(layer[-1].time_s, swing, viscosity * k**2 / (2 * DENSITY)),
            5e-3,
            source,
        ),
    ]
