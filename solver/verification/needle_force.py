"""Needle: force along an 18-gauge needle on its way into liver, against the published constants of its three parts and
by the protocol with which the toughness was measured: two insertions into the same hole, of which only the first cuts
(Azar & Hayward 2008, EuroHaptics; Gokgol et al. 2012, Med Eng Phys 34:882).

A block of liver under its capsule is held at the far side; the needle goes in live, at 10 mm/s. Before the puncture
the force grows while the surface is indented; after it the tip cuts at a constant force while friction grows with the
length in the tissue. The difference of the two insertions, over the width of the crack, is the toughness.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from solver.actions.needle import InsertNeedle
from solver.attachments import Attachment
from solver.body import Body
from solver.field import OperativeField
from solver.interactive import Interactive
from solver.needle import CAPSULE_MN_MM, FRICTION_MN_MM, GAUGE_18_MM, Needle
from solver.verification.blocks import kuhn_block
from solver.verification.row import Row

Array = NDArray[np.float64]

ENTRY, TARGET = (-2.0, 21.0, 19.0), (45.0, 21.0, 19.0)
# The steady part, mm of the tip behind the undeformed surface.
STEADY_MM = (25.0, 45.0)


@cache
def profile(again: bool = False) -> tuple[Array, Array, Array, float]:
    """Depth of the tip, length in the tissue, mm, and force, N, frame by frame, and the force of the puncture, N.

    Parameters
    ----------
    again : bool
        Into a hole that is there already: nothing is pierced or cut.
    """
    organ = kuhn_block((60, 40, 40), (9, 6, 6))
    x = organ.points[organ.exterior][:, :, 0]
    wall = Attachment("wall", organ.exterior[(x > 60 - 1e-9).all(axis=1)], 5.0, 5.0)
    field = OperativeField(Interactive(Body(organ, attachments=[wall], gravity_mm_s2=(0, 0, 0))))
    nothing = 0.0
    act = InsertNeedle(
        "needle",
        ENTRY,
        TARGET,
        10.0,
        cutting_N=nothing if again else None,
        puncture_N=nothing if again else None,
    )
    rows = []
    for _ in act.run(field, frame_s=0.05):
        needle = field.live.loads["needle"]
        assert isinstance(needle, Needle)
        positions = field.live.positions
        length = needle.depth_mm - needle.axis_entry_mm(positions)
        rows.append((needle.tip_mm[0], length, needle.axial_N(positions)))
    depth, length, force = np.array(rows).T
    return depth, length, force, float(field.events[0].values["force_N"])


def run() -> list[Row]:
    """Puncture, cutting, friction, and the toughness that two insertions give back."""
    depth, length, force, puncture = profile()
    _, length_again, force_again, _ = profile(again=True)
    steady = (depth > STEADY_MM[0]) & (depth < STEADY_MM[1])
    slope, cutting = np.polyfit(length[steady], force[steady], 1)
    # What friction adds belongs to the length in the tissue, which the two insertions share only nearly.
    rubbed = FRICTION_MN_MM / 1000.0 * (length - length_again)[steady]
    crack = 1000.0 * (force - force_again)[steady] - 1000.0 * rubbed
    before = depth < depth[force.argmax()]
    gokgol = "Gokgol et al. 2012"
    return [
        Row.compare(
            "Needle", "force at the puncture of the capsule (N)", puncture,
            CAPSULE_MN_MM * np.pi * GAUGE_18_MM / 1000.0, 0.01, "from the tear of the capsule, Brunon et al. 2010",
        ),
        Row.at_least(
            "Needle", "least growth of the force from frame to frame before it (N)",
            np.diff(force[before]).min(), 0.0, 1e-3, "stiffness phase, Okamura et al. 2004",
        ),
        Row.compare(
            "Needle", "force of cutting, without friction (N)", cutting, 164.0 * GAUGE_18_MM / 1000.0, 0.05, gokgol
        ),
        Row.compare(
            "Needle", "friction for each length (N/m)", 1000.0 * slope, FRICTION_MN_MM, 0.05,
            "given, after Okamura et al. 2004",
        ),
        Row.compare(
            "Needle", "toughness from two insertions (J/m²)", crack.mean() / GAUGE_18_MM, 164.0, 0.037,
            f"{gokgol}, 164 ± 6",
        ),
    ]  # fmt: skip
