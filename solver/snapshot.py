"""Snapshot: a state of the live tissue, to go back to."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from solver.attachments import Attachment
from solver.averaged import Averaged
from solver.body import Body
from solver.curvature import Curvature
from solver.factor import Factor
from solver.live_load import LiveLoad
from solver.patch import Patch
from solver.response import Response

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What `Interactive.restore` needs to go back and then go on exactly as before."""

    body: Body
    attachments: tuple[Attachment, ...]
    averaged: Averaged
    topology: int
    displacement: Array
    patches: dict[str, Patch]
    loads: dict[str, LiveLoad]
    time_s: float
    factor: Factor
    factored_at: Array
    curvature: Curvature
    direction: Array | None
    expected: tuple[Array | None, Array | None]
    slow: int
    stuck: bool
    frames: int
    refactoring: Future[tuple[Factor, Response, Array]] | None
    due_s: float
    hops: Mapping[str, Array] = field(default_factory=dict)
