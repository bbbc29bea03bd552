"""The measures of an operation: what each is called, its unit, how it is computed, and where its definition is from.

`METRICS` is the one place for this: tables on screen, `docs/metrics.md` and the report are made from it. A key leads
through what `twin.meter.OperationMeter.measured` gives; `*` stands for every organ, tumour or vessel system by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Metric:
    """A measure.

    Parameters
    ----------
    key : str
        Where it is, keys with dots between.
    title : str
        What a person calls it; names that `*` stands for are put in front.
    unit : str
    definition : str
        How it is computed.
    source : str
        Of the definition; empty where it follows from the words alone.
    better : {"more", "less", ""}
        Which of two plans is better by it, where one is.
    """

    key: str
    title: str
    unit: str
    definition: str
    source: str = ""
    better: Literal["more", "less", ""] = ""


_CUT = "from the vertices of either surface to the triangles of the other"
_FLOWS = "Brown 1989, Gut 30:503; Eipel 2010, World J Gastroenterol 16:6046"

METRICS: tuple[Metric, ...] = (
    Metric("time_s", "time", "s", "time of the rehearsal at its end"),
    Metric("acts", "acts", "", "acts of the plan"),
    Metric("undos", "undos", "", "how often the log of the rehearsal took acts back", better="less"),
    Metric(
        "organs.*.whole_ml", "volume", "ml",
        "tetrahedra of the organ and of tumours in it, in the scanned shape, before anything was done",
    ),
    Metric(
        "organs.*.specimen_ml", "specimen", "ml",
        "whole less what is left in the body: all that was taken out",
    ),
    Metric("organs.*.specimen_percent", "specimen", "%", "share of the whole"),
    Metric("organs.*.remnant_ml", "remnant", "ml", "tetrahedra left in the body, tumours included", better="more"),
    Metric("organs.*.remnant_percent", "remnant", "%", "share of the whole", better="more"),
    Metric(
        "organs.*.future_remnant_ml", "future remnant", "ml",
        "remnant without tumours; of the liver, kidneys, spleen and organs with tumours",
        "Kubota 1997, Hepatology 26:1176", "more",
    ),
    Metric(
        "organs.*.future_remnant_percent", "future remnant", "%",
        "share of the whole organ without its tumours", "Kubota 1997, Hepatology 26:1176", "more",
    ),
    Metric(
        "organs.*.future_remnant_perfused_ml", "future remnant, perfused", "ml",
        "future remnant in the territory of an open feeding vessel; the artery counts as running with the portal vein "
        "where the case has no arterial tree",
        "territories: Selle 2002, IEEE Trans Med Imaging 21:1344", "more",
    ),
    Metric(
        "organs.*.future_remnant_perfused_percent", "future remnant, perfused", "%",
        "share of the whole organ without its tumours", better="more",
    ),
    Metric(
        "organs.*.future_remnant_drained_ml", "future remnant, perfused and drained", "ml",
        "future remnant with inflow that is also in the territory of an open draining vein", "as above", "more",
    ),
    Metric(
        "organs.*.future_remnant_drained_percent", "future remnant, perfused and drained", "%",
        "share of the whole organ without its tumours", better="more",
    ),
    Metric(
        "organs.*.ischaemic_ml", "without inflow at the end", "ml",
        "tissue in the body whose feeding vessels are all closed or cut", better="less",
    ),
    Metric(
        "organs.*.congested_ml", "congested at the end", "ml",
        "tissue in the body with inflow whose draining vein is closed or cut; collateral veins are not known",
        better="less",
    ),
    Metric("tumours.*.volume_ml", "volume", "ml", "tetrahedra of the tumour in the scanned shape"),
    Metric("tumours.*.left_ml", "left behind", "ml", "part of it that is still in the body", better="less"),
    Metric(
        "tumours.*.margin.scanned.minimum_mm", "least margin, scanned shape", "mm",
        f"least distance of the tumour's surface from cut faces, {_CUT}; of the specimen that holds it, else of the "
        "body",
        better="more",
    ),
    Metric(
        "tumours.*.margin.scanned.p5_mm", "margin, 5th percentile", "mm",
        "of the same distance over the tumour's surface, by area", better="more",
    ),
    Metric("tumours.*.margin.scanned.median_mm", "margin, median", "mm", "of the same"),
    Metric(
        "tumours.*.margin.deformed.minimum_mm", "least margin, deformed shape", "mm",
        "the same in the shape the piece had when it was taken out, or has now in the body", better="more",
    ),
    Metric("tumours.*.to_capsule_mm", "to the capsule", "mm", "to the outer surface of the mesh before the operation"),
    Metric(
        "tumours.*.vessels.*.0.distance_mm", "nearest vessel", "mm",
        "from the tumour's surface to the wall of the nearest branch of 3 mm and wider, before the operation",
    ),
    Metric("tumours.*.vessels.*.0.calibre_mm", "its calibre", "mm", "diameter of that branch there"),
    Metric(
        "vessels_divided.count", "vessels divided", "",
        "pieces of vessel trees cut through, of the calibre from which vessels are counted", better="less",
    ),
    Metric("vessels_divided.widest_mm", "widest of them", "mm", "diameter", better="less"),
    Metric(
        "bleeding.flow_ml_min", "bleeding at the end", "ml/min",
        "flow that open stumps carried before they were cut: their share of the organ's volume times its flow", _FLOWS,
        "less",
    ),
    Metric(
        "bleeding.flow_bound_ml_min", "bleeding at the end, at most", "ml/min",
        "what pressure drives out of open stumps, by Poiseuille's law along the tree and with the kinetic energy lost "
        "at the mouth, at most the flow of the system",
        "Fung 1997, Biomechanics: Circulation; pressures: Guyton & Hall", "less",
    ),
    Metric("bleeding.lost_ml", "blood lost", "ml", "bleeding over time", better="less"),
    Metric("bleeding.lost_bound_ml", "blood lost, at most", "ml", "its bound over time", better="less"),
    Metric("bleeding.ischaemia_s", "time with ischaemia", "s", "time with any tissue without inflow", better="less"),
    Metric(
        "bleeding.ischaemia_ml_min", "ischaemia", "ml·min", "volume without inflow, over time", better="less"
    ),
    Metric(
        "tools.peak_force_N", "peak force of a tool", "N",
        "largest force of one tool on the tissue: the reaction of what it holds", better="less",
    ),
    Metric(
        "tools.peak_total_force_N", "peak force of all tools", "N",
        "largest sum of the sizes of all forces at one moment", better="less",
    ),
    Metric(
        "tools.impulse_N_s", "force over time", "N·s", "size of the force of every tool, integrated over time",
        better="less",
    ),
    Metric(
        "tools.work_mJ", "work of tools", "mJ",
        "force times way, by the trapezoidal rule over frames; what the tissue gives back counts against it",
        better="less",
    ),
    Metric("tools.path_mm", "path of tools", "mm", "way of every tool while it holds tissue", better="less"),
    Metric(
        "tissue.strain_energy_mJ", "strain energy at the end", "mJ",
        "stored in tissue and capsule against the stress-free shape, by the tissues' own laws",
    ),
    Metric(
        "tissue.strain_energy_gain_mJ", "of it added by the operation", "mJ",
        "the same less that at the beginning; tissue that was taken out takes its own with it",
    ),
    Metric(
        "tissue.peak_strain_energy_gain_mJ", "most that was added", "mJ", "largest of it in any frame", better="less"
    ),
    Metric(
        "tissue.largest_stretch", "largest stretch at the end", "",
        "largest principal stretch of any tetrahedron against the stress-free shape",
        "Holzapfel 2000, Nonlinear Solid Mechanics, ch. 2",
    ),
    Metric(
        "tissue.limits_exceeded", "limits exceeded", "",
        "events in which tissue reached a published limit of strain or stress", better="less",
    ),
)  # fmt: skip


def page() -> list[tuple[str, str, str, str, str]]:
    """Measure, key, unit, definition and source of every metric, for the documentation."""
    return [(one.title, one.key, one.unit, one.definition, one.source) for one in METRICS]


@dataclass(frozen=True)
class Row:
    """A measure of one plan: the metric, what `*` stood for, and the value."""

    metric: Metric
    names: tuple[str, ...]
    value: float

    @property
    def title(self) -> str:
        """What a person calls it, with its names."""
        words = [name.replace("_", " ") for name in self.names]
        return ", ".join([*words, self.metric.title])


def rows(measured: Mapping[str, Any]) -> list[Row]:
    """All measures that are known of a state, in the order of `METRICS`, those of one organ or tumour together."""
    found = [
        Row(metric, names, float(value))
        for metric in METRICS
        for names, value in _walk(measured, metric.key.split("."))
        if value is not None
    ]
    first: dict[tuple[str, ...], int] = {}
    for number, row in enumerate(found):
        first.setdefault((row.metric.key.split(".")[0], *row.names), number)
    group = lambda row: first[(row.metric.key.split(".")[0], *row.names)]  # noqa: E731
    return sorted(found, key=group)


def _walk(
    value: Any, keys: Sequence[str], names: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value a key leads to, with the names that its stars stood for."""
    if not keys:
        yield names, value
        return
    key, rest = keys[0], keys[1:]
    if key == "*":
        if isinstance(value, Mapping):
            for name, inner in value.items():
                yield from _walk(inner, rest, (*names, str(name)))
    elif isinstance(value, Mapping):
        if key in value:
            yield from _walk(value[key], rest, names)
    elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
        yield from _walk(value[int(key)], rest, names)
