import re

import pytest

from solver.errors import SolverError
from solver.tissues import (
    BULK_TO_SHEAR,
    CONFIDENCE,
    Toughness,
    published,
    read_table,
    read_tissues,
    table,
    tissue_of,
)

ENTRY = """
[jelly]
law = "neo-Hookean"
constants = { mu_kPa = 1.0 }
density_kg_mm3 = 1e-6
source = "a paper"
confidence = "measured"
"""


def test_every_published_tissue_has_a_source_and_is_nearly_incompressible():
    for name, tissue in published().items():
        assert len(tissue.source) > 10, name
        if tissue.compressibility:
            assert tissue.compressibility.bulk_kPa == BULK_TO_SHEAR * tissue.law.initial_shear_kPa


def test_every_entry_of_the_table_has_a_source_and_a_confidence():
    whole = table()
    entries = [*whole.tissues.values(), *whole.thermal.values(), *whole.toughness.values()]
    entries += whole.strength.values()
    for entry in [*entries, *whole.ligaments.values()]:
        assert re.search(r"\d{4}", entry.source), entry
        assert entry.confidence in CONFIDENCE
    for tissue in whole.tissues.values():
        assert tissue.confidence in ("measured", "transferred") or tissue.note, tissue.name


def test_the_tissues_of_surgery_are_there():
    wanted = {
        *("liver", "liver_fatty", "liver_fibrotic", "liver_tumour", "portal_vein_wall", "hepatic_vein_wall"),
        *("kidney", "kidney_cortex", "kidney_medulla", "spleen", "brain", "prostate", "lung", "gallbladder"),
        *("gallbladder_wall", "stomach_wall", "myocardium", "fat", "skin", "pancreas", "muscle"),
    }
    assert wanted <= set(published())
    assert {"liver_capsule", "kidney_capsule"} <= set(table().membranes)
    assert {"uterosacral", "cardinal"} <= set(table().ligaments)


@pytest.mark.parametrize(
    ("structure", "tissue"),
    [
        ("brain", "brain"),
        ("prostate", "prostate"),
        ("lung_upper_lobe_left", "lung"),
        ("lungs", "lung"),
        ("stomach", "stomach_wall"),
        ("skin", "skin"),
        ("kidney_cortex_left", "kidney_cortex"),
        ("kidney_medulla_right", "kidney_medulla"),
        ("heart_myocardium", "myocardium"),
        ("intermuscular_fat", "fat"),
        ("liver_segment_4", "liver"),
    ],
)
def test_structures_are_made_of_the_tissue_of_their_name(structure, tissue):
    assert tissue_of(structure).name == tissue


def test_heat_and_toughness_come_with_the_tissue():
    liver, brain = published()["liver"], published()["brain"]
    assert (liver.thermal.specific_heat_J_kg_K, liver.thermal.perfusion_ml_min_kg) == (3540.0, 860.0)
    assert liver.toughness.energy_J_m2 == 164.0
    assert brain.relaxation.relaxation(1e6) == pytest.approx(0.185)
    with pytest.raises(SolverError, match="does not lie in its range"):
        Toughness(5.0, 10.0, 20.0, "s")


def test_a_broken_part_of_the_table_is_refused():
    text = "[thermal.jelly]\ndensity_kg_m3 = 1000.0\nconfidence = 'assumed'\n"
    with pytest.raises(SolverError, match="'jelly' has no source"):
        read_table(text)
    with pytest.raises(SolverError, match="'jelly' of the tissue table lacks a constant"):
        read_table(text + "source = 'a paper'\n")


def test_values_are_those_of_the_papers():
    assert tissue_of("liver").law.mu_kPa == 2.3
    assert tissue_of("liver_tumour").law.mu_kPa == 10.1
    assert tissue_of("kidney_left").law.mu_kPa == 4.9
    assert tissue_of("spleen").law.mu_kPa == 3.565
    assert tissue_of("liver").capsule.mu_kPa == pytest.approx(8220 / 3)
    assert tissue_of("portal_vein_and_splenic_vein").name == tissue_of("inferior_vena_cava").name == "vein"


def test_unknown_structures_are_refused_with_advice():
    with pytest.raises(SolverError, match="No published tissue is known for the structure 'femur'"):
        tissue_of("femur")
    with pytest.raises(SolverError, match="'kidneybean'"):
        tissue_of("kidneybean")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('source = "a paper"', "", "has no source"),
        ('source = "a paper"', 'source = " "', "has no source"),
        ('"measured"', '"guessed"', "needs a confidence"),
        ("neo-Hookean", "Hooke", "has law 'Hooke'"),
        ("mu_kPa = 1.0", "nu = 0.5", "lacks a constant"),
        ("mu_kPa = 1.0", "mu_kPa = -1.0", "mu_kPa is -1; it must be a positive number"),
        ("density_kg_mm3 = 1e-6", "density_kg_mm3 = 0.0", "density 0"),
        ("[jelly]", "[jelly]\ncapsule = 'rind'", "names the capsule 'rind'"),
        ("[jelly]", "[jelly]\nthermal = 'ice'", "names the thermal 'ice'"),
        ("[jelly]", "[jelly", "not valid TOML"),
    ],
)
def test_a_broken_table_is_refused(old, new, message):
    assert "jelly" in read_tissues(ENTRY)
    with pytest.raises(SolverError, match=message):
        read_tissues(ENTRY.replace(old, new))
