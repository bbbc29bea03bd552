"""Haemodynamics: what divided vessels bleed.

Every divided piece has two stumps. The one towards the root bleeds while nothing closes the vessel upstream; the one
of a vein towards the tissue lets out what is still fed to the tissue it drained. Two numbers are given for each:

- *carried*: the flow that the vessel carried before, its share of the organ's volume times the organ's flow;
- *bound*: what pressure drives through the tree up to the stump, by Poiseuille's law along the way and with all of
  the kinetic energy lost at the mouth, Δp = Q Σ 8 µ l / (π r⁴) + ½ ρ Q² / A² (Fung 1997, Biomechanics: Circulation,
  2nd ed.), against no pressure outside, and at most the whole flow of the system. The bed beyond the stump no longer
  resists, so that the truth lies between the two.

Stumps that hang on one vessel share what can pass through it. A vein's central stump carried nothing outwards; it
bleeds back from the vena cava, and only its bound is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from solver.carried_vessels import CarriedTree

if TYPE_CHECKING:
    from solver.circulation import Perfusion

Array = NDArray[np.float64]

MMHG_KPA = 0.133322387415
# mm³/s in ml/min.
_ML_MIN = 60.0 / 1000.0


@dataclass(frozen=True)
class Supply:
    """What stands behind a vessel system.

    Parameters
    ----------
    pressure_mmHg : float
        At the root, above that of the abdomen.
    flow_ml_min : float
        Flow of the whole system; of a draining one what can come back from the great vein at most.
    """

    pressure_mmHg: float
    flow_ml_min: float


@dataclass(frozen=True)
class Haemodynamics:
    """Pressures and flows of the liver's vessels.

    Parameters
    ----------
    supplies : mapping of str to Supply
        By vessel system. *Portal vein*: 864 ml/min (SD 188, 45 healthy people lying down, duplex ultrasound; Brown et
        al. 1989, Gut 30:503) at 9 mmHg (Guyton & Hall, Textbook of Medical Physiology, "The liver as an organ").
        *Hepatic artery*: a third of that, since 75 to 80 % of the liver's blood is portal (Eipel et al. 2010, World J
        Gastroenterol 16:6046), at a mean arterial pressure of 93 mmHg (120/80). *Hepatic vein*: a central venous
        pressure of 5 mmHg, above which resections bleed more (Melendez et al. 1998, J Am Coll Surg 187:620), and at
        most a cardiac output of 5 l/min (Guyton & Hall).
    viscosity_mPa_s, density_kg_m3 : float
        Of blood at the shear rates of large vessels (Fung 1997).
    least_calibre_mm : float
        Narrower vessels do not count as bleeding. A convention: scans hardly show them, and dissectors that
        coagulate close them as they go.
    """

    supplies: Mapping[str, Supply] = field(
        default_factory=lambda: {
            "portal_vein": Supply(9.0, 864.0),
            "hepatic_artery": Supply(93.0, 288.0),
            "hepatic_vein": Supply(5.0, 5000.0),
        }
    )
    viscosity_mPa_s: float = 3.5
    density_kg_m3: float = 1060.0
    least_calibre_mm: float = 2.0

    def driven_ml_min(self, tree: CarriedTree) -> Array:
        """Flow that pressure drives out of a tree cut open at each of its nodes alone, ml/min, shape (n,).

        The node's piece is cut through at its beginning. It is also the most that can pass through that piece to
        whatever is open beyond it.
        """
        supply = self.supplies[tree.system]
        radius = tree.lumen_mm
        resistance = np.zeros(len(tree))
        own = 8.0 * self.viscosity_mPa_s * 1e-6 / np.pi * tree.length_mm / radius**4  # kPa·s/mm³
        for row in range(len(tree)):
            up = int(tree.parent[row])
            if up >= 0:
                resistance[row] = resistance[up] + own[up]
        inertia = 0.5 * self.density_kg_m3 * 1e-9 / (np.pi * radius**2) ** 2  # kPa·s²/mm⁶
        pressure = supply.pressure_mmHg * MMHG_KPA
        # Of the two forms of the root of the square equation, the one that does not cancel.
        flow = 2.0 * pressure / (resistance + np.sqrt(resistance**2 + 4.0 * inertia * pressure))
        return np.minimum(flow * _ML_MIN, supply.flow_ml_min)


@dataclass(frozen=True)
class Stump:
    """A divided vessel that bleeds.

    Parameters
    ----------
    system : str
    node : int
        Its piece is divided.
    calibre_mm : float
    carried_ml_min : float
        Flow that it carried to or from the tissue, ml/min.
    driven_ml_min : float
        What pressure drives out of the end towards the root at most, ml/min; 0 where that is closed upstream.
    drains : bool
        Whether it is a vein, both of whose ends bleed.
    """

    system: str
    node: int
    calibre_mm: float
    carried_ml_min: float
    driven_ml_min: float
    drains: bool

    @property
    def bound_ml_min(self) -> float:
        """What it may bleed at most if it were alone, ml/min."""
        return _most(self.carried_ml_min, self.driven_ml_min, self.drains)


def _most(carried: float, driven: float, drains: bool) -> float:
    """A vein bleeds from both ends; a feeding vessel from one, and no less than it carried."""
    return carried + driven if drains else max(carried, driven)


def bleeding(
    found: Perfusion,
    vessels: Mapping[str, CarriedTree],
    tet_data: Mapping[str, NDArray[Any]],
    shares: Mapping[str, Array],
    served_ml: Mapping[str, float],
    haemodynamics: Haemodynamics,
) -> tuple[Stump, ...]:
    """Every stump that bleeds.

    Parameters
    ----------
    found : Perfusion
        Of the present state.
    vessels, tet_data : mapping
        As of `perfusion`.
    shares : mapping of str to ndarray, shape (n,)
        Share of the whole organ that each node of a tree served, with all beyond it, before anything was done.
    served_ml : mapping of str to float
        Volume that each tree served before anything was done, ml.
    haemodynamics : Haemodynamics
    """
    stumps = []
    known = haemodynamics.supplies
    fed_ml_min = sum(supply.flow_ml_min for name, supply in known.items() if name != "hepatic_vein")
    for name, tree in vessels.items():
        if name not in known:
            continue
        node = tet_data[name]
        fed = (node >= 0) & found.perfused
        # What reaches the tissue behind each closed piece: behind a divided vein it comes out of the stump.
        behind = np.where(fed, tree.barrier[node], -1)
        volume = np.bincount(behind[behind >= 0], found.volume_ml[behind >= 0], minlength=len(tree))
        driven = haemodynamics.driven_ml_min(tree) if tree.divided else np.zeros(len(tree))
        for cut in sorted(tree.divided - tree.clamped):
            if tree.calibre_mm(cut) < haemodynamics.least_calibre_mm:
                continue
            above = int(tree.parent[cut])
            root_side = above < 0 or bool(tree.flowing[above])
            carried = fed_ml_min * float(volume[cut]) / served_ml[name] if tree.outflow else 0.0
            if root_side and not tree.outflow:
                carried = known[name].flow_ml_min * float(shares[name][cut])
            back = float(driven[cut]) if root_side else 0.0
            if carried > 0.0 or back > 0.0:
                stumps.append(Stump(name, cut, tree.calibre_mm(cut), carried, back, tree.outflow))
    return tuple(stumps)


def flows_ml_min(
    stumps: Sequence[Stump], vessels: Mapping[str, CarriedTree], haemodynamics: Haemodynamics
) -> tuple[float, float]:
    """Bleeding of stumps together, ml/min: by carried flows, and at most.

    Stumps on one vessel share what can pass through it, and no system gives more than it has.
    """
    carried = bound = 0.0
    for name, tree in vessels.items():
        own = [stump for stump in stumps if stump.system == name]
        if not own:
            continue
        limit = haemodynamics.driven_ml_min(tree)
        through = np.zeros(len(tree))
        through[[stump.node for stump in own]] = [stump.driven_ml_min for stump in own]
        for row in range(len(tree) - 1, -1, -1):
            through[row] = min(through[row], limit[row])
            if tree.parent[row] >= 0:
                through[tree.parent[row]] += through[row]
        most = haemodynamics.supplies[name].flow_ml_min
        out = min(sum(stump.carried_ml_min for stump in own), most)
        carried += out
        bound += _most(out, min(float(through[tree.roots].sum()), most), tree.outflow)
    return carried, bound
