"""What is published of each tissue: its law, its constants, their spread and where they were read.

The numbers are data (`tissues.toml`), each with its source; a value without one is refused when the file is
read. Bulk moduli are not measurements: soft tissue is nearly incompressible (K is about 2 GPa against a shear
modulus of some kPa), and K/µ = 50 (ν = 0.49) is the smallest ratio at which the volume of an organ stays
within a fraction of a percent under the loads of surgery while the equations stay well enough conditioned
for a live answer. The error in displacement against incompressible tissue is of the order µ/K, below the
spread of every µ.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from solver.errors import SolverError
from solver.materials import LAWS, Compressibility, Law, Membrane, PronySeries

BULK_TO_SHEAR = 50.0
CONFIDENCE = ("measured", "transferred", "derived", "assumed")


def _sound(owner: object, name: str, entry: Any, least: float = 0.0) -> None:
    value = float(getattr(entry, name))
    if not (math.isfinite(value) and value >= least):
        raise SolverError(f"{type(owner).__name__}: {name} is {value:g}; it must be a positive number.")


@dataclass(frozen=True)
class ThermalConstants:
    """How a tissue conducts and stores heat, and how much blood runs through it.

    Parameters
    ----------
    density_kg_m3, specific_heat_J_kg_K, conductivity_W_m_K : float
    perfusion_ml_min_kg : float
        Blood per minute and mass of tissue; zero where none flows.
    source : str
        Publication the constants were read in.
    confidence : str
        As that of a `Tissue`.
    """

    density_kg_m3: float
    specific_heat_J_kg_K: float
    conductivity_W_m_K: float
    perfusion_ml_min_kg: float
    source: str
    confidence: str = "transferred"

    def __post_init__(self) -> None:
        for name in ("density_kg_m3", "specific_heat_J_kg_K", "conductivity_W_m_K"):
            _sound(self, name, self, math.ulp(0.0))
        _sound(self, "perfusion_ml_min_kg", self)

    @property
    def heat_per_volume_J_mm3_K(self) -> float:
        """Heat that warms a volume, ρ c in J/(mm³ K)."""
        return self.density_kg_m3 * 1e-9 * self.specific_heat_J_kg_K

    @property
    def perfusion_1_s(self) -> float:
        """Volume of blood per volume of tissue and second."""
        return self.perfusion_ml_min_kg * 1e-6 / 60 * self.density_kg_m3


@dataclass(frozen=True)
class Toughness:
    """Energy that new surface costs when a tissue is cut or torn.

    Parameters
    ----------
    energy_J_m2 : float
        Per area of the cut.
    low_J_m2, high_J_m2 : float
        Range of what is published; tearing costs more than a sharp blade.
    source : str
    confidence : str
        As that of a `Tissue`.
    note : str
        What a person should know of it.
    """

    energy_J_m2: float
    low_J_m2: float
    high_J_m2: float
    source: str
    confidence: str = "transferred"
    note: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.low_J_m2 <= self.energy_J_m2 <= self.high_J_m2:
            raise SolverError(
                f"Toughness: {self.energy_J_m2:g} J/m² does not lie in its range of {self.low_J_m2:g} to "
                f"{self.high_J_m2:g} J/m², which must be positive."
            )


@dataclass(frozen=True)
class Strength:
    """How far a tissue can be stretched before it tears.

    Parameters
    ----------
    strain : float
        First principal stretch at failure, less 1.
    spread : float
        Standard deviation.
    source : str
    confidence : str
        As that of a `Tissue`.
    note : str
    """

    strain: float
    spread: float
    source: str
    confidence: str = "transferred"
    note: str = ""

    def __post_init__(self) -> None:
        if not (self.strain > 0 and 0 <= self.spread < self.strain):
            raise SolverError(
                f"Strength: a strain at failure of {self.strain:g} ± {self.spread:g} is not possible; both must be "
                "positive, the spread smaller."
            )


@dataclass(frozen=True)
class Ligament:
    """A ligament as a cord that pulls.

    Parameters
    ----------
    stiffness_N_mm : float
    spread_N_mm : float
        Standard deviation.
    source : str
    confidence : str
        As that of a `Tissue`.
    """

    stiffness_N_mm: float
    spread_N_mm: float
    source: str
    confidence: str = "transferred"

    def __post_init__(self) -> None:
        _sound(self, "stiffness_N_mm", self, math.ulp(0.0))


@dataclass(frozen=True)
class Tissue:
    """A tissue: how it stores energy, how heavy it is, and who says so.

    Parameters
    ----------
    name : str
    law : Law
        Strain energy, kPa.
    compressibility : Compressibility or None
        Volumetric energy; None only for laws that carry their own.
    density_kg_mm3 : float
    source : str
        Publication the constants were read in.
    spread_kPa : float or None
        Standard deviation of the shear modulus, where published.
    confidence : {"measured", "transferred", "derived", "assumed"}
    capsule : Membrane or None
        Membrane on the outer surface of the organ.
    note : str
        What was computed or assumed on the way from the source to the constants.
    relaxation : PronySeries or None
        How its stress relaxes, where published.
    thermal : ThermalConstants or None
    toughness : Toughness or None
    strength : Strength or None
    """

    name: str
    law: Law
    compressibility: Compressibility | None
    density_kg_mm3: float
    source: str
    spread_kPa: float | None = None
    confidence: str = "measured"
    capsule: Membrane | None = None
    note: str = ""
    relaxation: PronySeries | None = None
    thermal: ThermalConstants | None = None
    toughness: Toughness | None = None
    strength: Strength | None = None

    def __post_init__(self) -> None:
        if not self.source.strip():
            raise SolverError(f"The tissue '{self.name}' has no source; name where its constants were read.")
        if not self.density_kg_mm3 > 0:
            raise SolverError(
                f"The tissue '{self.name}' has density {self.density_kg_mm3:g} kg/mm³; it must be positive."
            )
        if self.law.isochoric and self.compressibility is None:
            raise SolverError(f"The tissue '{self.name}' has no compressibility, which its law needs.")


def nearly_incompressible(law: Law, ratio: float = BULK_TO_SHEAR) -> Compressibility:
    """K/2 (J − 1)² with K = `ratio` times the law's initial shear modulus."""
    return Compressibility(ratio * law.initial_shear_kPa)


# Tables of `tissues.toml` beside the tissues themselves, which may name an entry of each.
TABLES = ("membranes", "thermal", "toughness", "strength")


@dataclass(frozen=True)
class TissueTable:
    """What `tissues.toml` holds, each by its name: tissues, and what belongs to them."""

    tissues: Mapping[str, Tissue]
    membranes: Mapping[str, Membrane]
    thermal: Mapping[str, ThermalConstants]
    toughness: Mapping[str, Toughness]
    ligaments: Mapping[str, Ligament]
    strength: Mapping[str, Strength]


@cache
def table() -> TissueTable:
    """Everything in `tissues.toml`."""
    return read_table(resources.files("solver").joinpath("tissues.toml").read_text(encoding="utf-8"))


def published() -> dict[str, Tissue]:
    """Every tissue of `tissues.toml`, by name."""
    return dict(table().tissues)


def blood() -> ThermalConstants:
    """Thermal constants of blood."""
    return table().thermal["blood"]


def read_tissues(text: str) -> dict[str, Tissue]:
    """Tissues from TOML text in the form of `tissues.toml`; see `read_table`."""
    return dict(read_table(text).tissues)


def read_table(text: str) -> TissueTable:
    """A table from TOML text in the form of `tissues.toml`.

    Raises
    ------
    SolverError
        If an entry lacks a source, its law is unknown, or a constant is missing or out of range.
    """
    try:
        entries: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SolverError(f"The tissue table is not valid TOML: {error}.") from error
    parts = {name: entries.pop(name, {}) for name in (*TABLES, "ligaments")}
    membranes = {name: _membrane(name, entry) for name, entry in parts["membranes"].items()}
    thermal = {name: _record(ThermalConstants, name, entry) for name, entry in parts["thermal"].items()}
    toughness = {name: _record(Toughness, name, entry) for name, entry in parts["toughness"].items()}
    ligaments = {name: _record(Ligament, name, entry) for name, entry in parts["ligaments"].items()}
    strength = {name: _record(Strength, name, entry) for name, entry in parts["strength"].items()}
    named: dict[str, Mapping[str, Any]] = {
        "capsule": membranes, "thermal": thermal, "toughness": toughness, "strength": strength,
    }  # fmt: skip
    tissues = {name: _tissue(name, entry, named) for name, entry in entries.items()}
    return TissueTable(tissues, membranes, thermal, toughness, ligaments, strength)


def _sourced(name: str, entry: Mapping[str, Any]) -> None:
    if not str(entry.get("source", "")).strip():
        raise SolverError(f"The tissue '{name}' has no source; name where its constants were read.")
    if entry.get("confidence") not in CONFIDENCE:
        raise SolverError(f"The tissue '{name}' needs a confidence, one of {', '.join(CONFIDENCE)}.")


def _membrane(name: str, entry: Mapping[str, Any]) -> Membrane:
    _sourced(name, entry)
    return Membrane(mu_kPa=entry["mu_kPa"], thickness_mm=entry["thickness_mm"])


def _record[Kind](kind: type[Kind], name: str, entry: Mapping[str, Any]) -> Kind:
    """A record of constants from its entry."""
    _sourced(name, entry)
    try:
        return kind(**entry)
    except TypeError as error:
        raise SolverError(f"The entry '{name}' of the tissue table lacks a constant: {error}.") from error


def _constant(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _named(name: str, entry: Mapping[str, Any], kind: str, known: Mapping[str, Any]) -> Any:
    """What an entry names of another part of the table, or None."""
    wanted = entry.get(kind)
    if wanted is not None and wanted not in known:
        raise SolverError(f"The tissue '{name}' names the {kind} '{wanted}', which is not in the table.")
    return None if wanted is None else known[wanted]


def _tissue(name: str, entry: Mapping[str, Any], named: Mapping[str, Mapping[str, Any]]) -> Tissue:
    _sourced(name, entry)
    if entry.get("law") not in LAWS:
        raise SolverError(f"The tissue '{name}' has law '{entry.get('law')}'; known are {', '.join(LAWS)}.")
    try:
        law = LAWS[entry["law"]](**{k: _constant(v) for k, v in entry["constants"].items()})
        density = float(entry["density_kg_mm3"])
    except (TypeError, KeyError) as error:
        raise SolverError(
            f"The tissue '{name}' lacks a constant of its law {entry['law']}: {error}."
        ) from error
    relaxation = entry.get("relaxation")
    return Tissue(
        name=name,
        law=law,
        compressibility=nearly_incompressible(law) if law.isochoric else None,
        density_kg_mm3=density,
        source=entry["source"],
        spread_kPa=entry.get("spread_kPa"),
        confidence=entry["confidence"],
        note=entry.get("note", ""),
        relaxation=None
        if relaxation is None
        else PronySeries(**{k: tuple(v) for k, v in relaxation.items()}),
        **{kind: _named(name, entry, kind, known) for kind, known in named.items()},
    )


# Beginning of a structure's name -> tissue; the longest that fits wins.
_TISSUE_OF_STRUCTURE = {
    "liver": "liver",
    "liver_tumour": "liver_tumour",
    "portal_vein": "vein",
    "hepatic_vein": "vein",
    "inferior_vena_cava": "vein",
    "kidney": "kidney",
    "kidney_cortex": "kidney_cortex",
    "kidney_medulla": "kidney_medulla",
    "spleen": "spleen",
    "subcutaneous_fat": "fat",
    "torso_fat": "fat",
    "intermuscular_fat": "fat",
    "fat": "fat",
    "gallbladder": "gallbladder",
    "gallbladder_wall": "gallbladder_wall",
    "pancreas": "pancreas",
    "muscle": "muscle",
    "brain": "brain",
    "prostate": "prostate",
    "prostate_tumour": "prostate_tumour",
    "lung": "lung",
    "lungs": "lung",
    "stomach": "stomach_wall",
    "heart_myocardium": "myocardium",
    "skin": "skin",
}


def tissue_of(structure: str) -> Tissue:
    """Published tissue that a structure is made of by default.

    Parameters
    ----------
    structure : str
        Structure name, as in `anatomy.structures`.

    Raises
    ------
    SolverError
        If no published tissue fits; the message says how to give one.
    """
    fitting = [key for key in _TISSUE_OF_STRUCTURE if structure == key or structure.startswith(key + "_")]
    if not fitting:
        raise SolverError(
            f"No published tissue is known for the structure '{structure}'; "
            f"give one with Body(organ, tissues={{'{structure}': …}})."
        )
    return published()[_TISSUE_OF_STRUCTURE[max(fitting, key=len)]]
