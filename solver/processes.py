"""Processes: one body on several of them.

Every process keeps the whole `OrganMesh`, which is small beside the equations, and assembles and solves its own
part of them. Arrays in OrganMesh order are whole and equal on every process; arrays in the order of a function
space hold what the process owns. What leads from one to the other is a sum over processes, each giving the rows
it owns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from solver.backend import MPI

Array = NDArray[np.float64]


class Processes:
    """The processes that share a body.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        Every call below is collective: each process must make it.

    Attributes
    ----------
    count, rank : int
        How many there are, and which this one is.
    """

    def __init__(self, comm: Any) -> None:
        self.comm = comm
        self.count, self.rank = int(comm.size), int(comm.rank)

    def part(self, length: int) -> slice:
        """Which of `length` rows this process hands over at the start."""
        ends = np.linspace(0, length, self.count + 1).astype(int)
        return slice(int(ends[self.rank]), int(ends[self.rank + 1]))

    def total(self, value: float) -> float:
        """Sum of one number of every process."""
        return value if self.count == 1 else float(self.comm.allreduce(value, MPI.SUM))

    def norm(self, values: Array) -> float:
        """Euclidean norm of a vector whose entries are spread over the processes."""
        return float(np.sqrt(self.total(float(np.vdot(values, values)))))

    def every(self, condition: bool) -> bool:
        """Whether a condition holds on every process."""
        return condition if self.count == 1 else bool(self.comm.allreduce(bool(condition), MPI.LAND))

    def smallest(self, values: Array) -> float:
        """Smallest entry of a vector whose entries are spread over the processes."""
        mine = float(values.min()) if len(values) else np.inf
        return mine if self.count == 1 else float(self.comm.allreduce(mine, MPI.MIN))

    def whole(self, values: NDArray[Any]) -> NDArray[Any]:
        """Sum of equally shaped arrays of every process, of which each has filled its own rows."""
        if self.count > 1:
            values = np.ascontiguousarray(values)
            self.comm.Allreduce(MPI.IN_PLACE, values, MPI.SUM)
        return values

    def of_smallest(self, value: float, answer: Any) -> Any:
        """The `answer` of the process whose `value` is the smallest, the first of equal ones."""
        if self.count == 1:
            return answer
        owner = int(np.argmin(self.comm.allgather(value)))
        return self.comm.bcast(answer, owner)
