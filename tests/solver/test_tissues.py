import pytest

from solver.errors import SolverError
from solver.tissues import BULK_TO_SHEAR, published, read_tissues, tissue_of

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
        ("[jelly]", "[jelly", "not valid TOML"),
    ],
)
def test_a_broken_table_is_refused(old, new, message):
    assert "jelly" in read_tissues(ENTRY)
    with pytest.raises(SolverError, match=message):
        read_tissues(ENTRY.replace(old, new))
