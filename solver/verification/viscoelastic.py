"""Prony series: relaxation after a step of strain, from the closed form and from the time stepping."""

from __future__ import annotations

from solver.materials import PronySeries
from solver.verification.row import Row

REFERENCE = {1.0: 0.781815, 10.0: 0.510377, 100.0: 0.400014}
STEPS_PER_S = 20


def stepped(series: PronySeries, time_s: float) -> float:
    """G(t)/G0 by time steps, after a strain put on in the first microsecond."""
    rise = 1e-6
    kept = series.advance([0.0] * len(series.weights), 1.0, rise)
    count = int(time_s * STEPS_PER_S)
    for _ in range(count):
        kept = series.advance(kept, 0.0, time_s / count)
    return 1.0 - sum(series.weights) + sum(kept)


def run() -> list[Row]:
    """Relaxation at 1, 10 and 100 s."""
    series = PronySeries((0.3, 0.3), (1.0, 10.0))
    rows = []
    for time_s, reference in REFERENCE.items():
        quantity = f"G/G0 at {time_s:g} s"
        value = series.relaxation(time_s)
        rows.append(Row.compare("Prony series", quantity, value, reference, 1e-4, "closed form"))
        value = stepped(series, time_s)
        rows.append(
            Row.compare("Prony series", f"{quantity}, stepped", value, reference, 1e-4, "closed form")
        )
    return rows
