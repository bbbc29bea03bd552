"""What is published of each tissue: its law, its constants, their spread and where they were read.

The numbers are data (`tissues.toml`), each with its source; a value without one is refused when the file is
read. Bulk moduli are not measurements: soft tissue is nearly incompressible (K is about 2 GPa against a shear
modulus of some kPa), and K/µ = 50 (ν = 0.49) is the smallest ratio at which the volume of an organ stays
within a fraction of a percent under the loads of surgery while the equations stay well enough conditioned
for a live answer. The error in displacement against incompressible tissue is of the order µ/K, below the
spread of every µ.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from solver.errors import SolverError
from solver.materials import LAWS, Compressibility, Law, Membrane

BULK_TO_SHEAR = 50.0
CONFIDENCE = ("measured", "transferred", "derived", "assumed")


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
    """

    name: str
    law: Law
    compressibility: Compressibility | None
    density_kg_mm3: float
    source: str
    spread_kPa: float | None = None
    confidence: str = "measured"
    capsule: Membrane | None = None

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


@cache
def published() -> dict[str, Tissue]:
    """Every tissue of `tissues.toml`, by name."""
    text = resources.files("solver").joinpath("tissues.toml").read_text(encoding="utf-8")
    return read_tissues(text)


def read_tissues(text: str) -> dict[str, Tissue]:
    """Tissues from TOML text in the form of `tissues.toml`.

    Raises
    ------
    SolverError
        If an entry lacks a source, its law is unknown, or a constant is missing or out of range.
    """
    try:
        entries: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SolverError(f"The tissue table is not valid TOML: {error}.") from error
    membranes = {name: _membrane(name, entry) for name, entry in entries.pop("membranes", {}).items()}
    return {name: _tissue(name, entry, membranes) for name, entry in entries.items()}


def _sourced(name: str, entry: Mapping[str, Any]) -> None:
    if not str(entry.get("source", "")).strip():
        raise SolverError(f"The tissue '{name}' has no source; name where its constants were read.")
    if entry.get("confidence") not in CONFIDENCE:
        raise SolverError(f"The tissue '{name}' needs a confidence, one of {', '.join(CONFIDENCE)}.")


def _membrane(name: str, entry: Mapping[str, Any]) -> Membrane:
    _sourced(name, entry)
    return Membrane(mu_kPa=entry["mu_kPa"], thickness_mm=entry["thickness_mm"])


def _constant(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _tissue(name: str, entry: Mapping[str, Any], membranes: Mapping[str, Membrane]) -> Tissue:
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
    capsule = entry.get("capsule")
    if capsule is not None and capsule not in membranes:
        raise SolverError(f"The tissue '{name}' names the capsule '{capsule}', which is not in the table.")
    return Tissue(
        name=name,
        law=law,
        compressibility=nearly_incompressible(law) if law.isochoric else None,
        density_kg_mm3=density,
        source=entry["source"],
        spread_kPa=entry.get("spread_kPa"),
        confidence=entry["confidence"],
        capsule=None if capsule is None else membranes[capsule],
    )


# Beginning of a structure's name -> tissue; the longest that fits wins.
_TISSUE_OF_STRUCTURE = {
    "liver": "liver",
    "liver_tumour": "liver_tumour",
    "portal_vein": "vein",
    "hepatic_vein": "vein",
    "inferior_vena_cava": "vein",
    "kidney": "kidney",
    "spleen": "spleen",
    "subcutaneous_fat": "fat",
    "gallbladder": "gallbladder",
    "pancreas": "pancreas",
    "muscle": "muscle",
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
