"""FrameBuffer: the newest frame of the live tissue in memory that two processes share.

One process writes, another reads, neither waits. There are three slots; the writer fills the one after the newest
and then names it as the newest, so that a reader has the time of two more frames to copy it. Each slot carries its
frame's number at its beginning and its end of life: the writer clears it first and sets it last, and a reader that
finds another number after copying than before takes the newer frame instead (a sequence lock, after Lameter 2005).
"""

from __future__ import annotations

import time
from multiprocessing.shared_memory import SharedMemory

import numpy as np

from solver.frame import Frame, Progressing

SLOTS = 3
TOOLS = 8
_STATES: tuple[Progressing, ...] = ("converged", "approaching", "stale")
_HEAD = np.dtype(
    [
        ("number", "<i8"),
        ("computed_s", "<f8"),
        ("vertices", "<i8"),
        ("topology", "<i8"),
        ("time_s", "<f8"),
        ("residual", "<f8"),
        ("distance_mm", "<f8"),
        ("mean_distance_mm", "<f8"),
        ("minimum_jacobian", "<f8"),
        ("seconds", "<f8"),
        ("iterations", "<i8"),
        ("state", "<i8"),
        ("tools", "<i8"),
        ("names", "S48", (TOOLS,)),
        ("forces", "<f8", (TOOLS, 3)),
    ]
)
_COPIED = (
    "time_s", "residual", "distance_mm", "mean_distance_mm", "minimum_jacobian", "seconds", "computed_s", "topology",
)  # fmt: skip
_CONTROL = np.dtype([("capacity", "<i8"), ("newest", "<i8"), ("heartbeat_s", "<f8")])


class FrameBuffer:
    """Three frames of up to `capacity` vertices in shared memory.

    Use `FrameBuffer.create` in the process that writes and `FrameBuffer.attach` in the one that reads.
    """

    def __init__(self, memory: SharedMemory, capacity: int) -> None:
        self._memory = memory
        slot = np.dtype([("head", _HEAD), ("displacement", "<f4", (capacity, 3))])
        self._control = np.ndarray((), _CONTROL, memory.buf)
        self._slots = np.ndarray((SLOTS,), slot, memory.buf, _CONTROL.itemsize)
        self._last: Frame | None = None
        self._last_number = 0

    @classmethod
    def create(cls, capacity: int) -> FrameBuffer:
        """New memory without a frame."""
        size = _CONTROL.itemsize + SLOTS * (_HEAD.itemsize + 12 * capacity)
        memory = SharedMemory(create=True, size=size)
        buffer = cls(memory, capacity)
        buffer._slots["head"]["number"] = 0
        buffer._control["capacity"], buffer._control["newest"] = capacity, -1
        buffer.beat()
        return buffer

    @classmethod
    def attach(cls, name: str) -> FrameBuffer:
        """Memory another process created."""
        memory = SharedMemory(name=name)
        return cls(memory, int(np.ndarray((), _CONTROL, memory.buf)["capacity"]))

    @property
    def name(self) -> str:
        """Name to attach by."""
        return self._memory.name

    @property
    def capacity(self) -> int:
        """Vertices a frame may have."""
        return int(self._control["capacity"])

    def beat(self) -> None:
        """Tell that the writer is at work."""
        self._control["heartbeat_s"] = time.monotonic()

    @property
    def silence_s(self) -> float:
        """Time since the writer's last sign of life, s."""
        return time.monotonic() - float(self._control["heartbeat_s"])

    def publish(self, frame: Frame) -> None:
        """Write a frame and make it the newest; tools beyond the eighth are left out."""
        newest = int(self._control["newest"])
        at = (newest + 1) % SLOTS
        number = 1 if newest < 0 else int(self._slots["head"]["number"][newest]) + 1
        slot = self._slots[at : at + 1]
        head = slot["head"]
        head["number"] = 0
        head["vertices"] = len(frame.displacement)
        slot["displacement"][0, : len(frame.displacement)] = frame.displacement
        for field in _COPIED:
            head[field] = getattr(frame, field)
        head["iterations"], head["state"] = frame.iterations, _STATES.index(frame.state)
        named = list(frame.forces_N.items())[:TOOLS]
        head["tools"] = len(named)
        for k, (tool, force) in enumerate(named):
            head["names"][0, k] = tool.encode()[:48]
            head["forces"][0, k] = force
        head["number"] = number
        self._control["newest"] = at
        self.beat()

    def latest(self) -> Frame | None:
        """The newest frame, the same object as before if there is no newer one; None before the first."""
        for _ in range(SLOTS):
            at = int(self._control["newest"])
            if at < 0:
                return None
            slot = self._slots[at : at + 1]
            number = int(slot["head"]["number"][0])
            if number == self._last_number:
                return self._last
            if number == 0:
                continue
            head = slot["head"][0].copy()
            displacement = slot["displacement"][0, : int(head["vertices"])].copy()
            if int(slot["head"]["number"][0]) == number:
                self._last, self._last_number = _frame(head, displacement), number
                return self._last
        return self._last

    def close(self, remove: bool = False) -> None:
        """Let go of the memory, and remove it for everybody if asked."""
        del self._control, self._slots
        self._memory.close()
        if remove:
            try:
                self._memory.unlink()
            except FileNotFoundError:
                return


def _frame(head: np.void, displacement: np.ndarray) -> Frame:
    count = int(head["tools"])
    return Frame(
        displacement=displacement,
        **{field: head[field].item() for field in _COPIED},
        forces_N={bytes(head["names"][k]).decode(): head["forces"][k].copy() for k in range(count)},
        state=_STATES[int(head["state"])],
        iterations=int(head["iterations"]),
    )
