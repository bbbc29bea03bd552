"""The reduced-order tier: tissue that answers a thousand times a second, and says when it cannot.

Offline, `reduce_grip` pulls the live tissue at one place into converged states, and makes of them a `ReducedModel`:
a basis of their modes, the change of volume as a cubic form, and a few weighted cells for the law. Online,
`ReducedTier` follows the tools with it, estimates on every frame how far it is from the full order, and hands the
state over to `Interactive` where it leaves what it was trained on.
"""

from __future__ import annotations

from solver.reduced.grip import Grip, Range, grip_of, spread_places
from solver.reduced.model import Accuracy, ReducedModel
from solver.reduced.tier import ReducedFrame, ReducedTier
from solver.reduced.training import Effort, reduce_grip

__all__ = [
    "Accuracy",
    "Effort",
    "Grip",
    "Range",
    "ReducedFrame",
    "ReducedModel",
    "ReducedTier",
    "grip_of",
    "reduce_grip",
    "spread_places",
]
