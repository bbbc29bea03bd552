import pytest
from pydicom.sr._concepts_dict import concepts

from anatomy import structures
from anatomy.errors import AnatomyError

# Published by TotalSegmentator's own SNOMED mapping but not part of DICOM's dictionary.
ONLY_TOTALSEGMENTATOR = ("rib_", "gluteus_", "autochthon_", "iliopsoas_")
ONLY_TOTALSEGMENTATOR_NAMES = {"heart_myocardium", "vertebrae_S1", "subcutaneous_fat"}


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("liver", "liver"),
        ("Liver", "liver"),
        ("IVC", "inferior_vena_cava"),
        ("inferior vena cava", "inferior_vena_cava"),
        ("liver_tumor", "liver_tumour"),
        ("left kidney", "kidney_left"),
        ("kidney-right", "kidney_right"),
        ("oesophagus", "esophagus"),
        ("l5", "vertebrae_L5"),
        ("Couinaud IV", "liver_segment_4"),
        ("clavicle_left", "clavicula_left"),
    ],
)
def test_words_people_use_lead_to_one_name(word: str, name: str) -> None:
    assert structures.find(word).name == name


def test_unknown_word_offers_near_ones() -> None:
    with pytest.raises(AnatomyError, match=r"unknown structure 'livr'; did you mean liver\?"):
        structures.find("livr")
    with pytest.raises(AnatomyError, match=r"^unknown structure 'xyzq'$"):
        structures.find("xyzq")


def test_every_word_leads_back_to_a_structure_of_its_own_name() -> None:
    for name, structure in structures.vocabulary().items():
        assert structures.find(name) is structure
        assert structures.find(structure.title).title == structure.title
        assert all(0 <= c <= 255 for c in structure.colour)
        assert structure.tissue
        assert structure.kind in {"organ", "tumour", "vessel", "bone", "muscle", "fat", "nerve", "region"}


def test_codes_are_those_of_the_dicom_dictionary() -> None:
    published = {code: info[0] for entry in concepts["SCT"].values() for code, info in entry.items()}
    missing = {
        s.name
        for s in structures.vocabulary().values()
        if s.snomed and s.snomed not in published and not s.name.startswith(ONLY_TOTALSEGMENTATOR)
    }
    assert missing == ONLY_TOTALSEGMENTATOR_NAMES
    assert published[structures.find("liver").snomed].startswith("Liver structure")
    assert published[structures.find("hepatic_vein").snomed].startswith("Structure of hepatic vein")
    assert structures.find("kidney_left").side_code == "7771000"
    assert structures.find("liver").side_code is None


def test_tissues_the_solver_needs() -> None:
    tissue = {name: s.tissue for name, s in structures.vocabulary().items()}
    assert tissue["liver"] == "liver"
    assert tissue["liver_tumour"] == "tumour"
    assert tissue["portal_vein"] == "portal_vein"
    assert tissue["portal_vein_and_splenic_vein"] == "portal_vein"
    assert tissue["hepatic_vein"] == "hepatic_vein"
    assert tissue["kidney_left"] == tissue["kidney_cortex_right"] == "kidney"
