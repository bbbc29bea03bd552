import re

import pytest
from pydicom.sr._concepts_dict import concepts

from anatomy import structures
from anatomy.errors import AnatomyError
from anatomy.label_names import class_tables
from anatomy.structures import Coded

# Published by TotalSegmentator's own SNOMED mapping (the cortex of the kidney by HL7's of the TG-263 names) but not
# part of DICOM's dictionary.
NOT_IN_DICTIONARY = ("rib_", "gluteus_", "autochthon_", "iliopsoas_", "kidney_cortex_")
NOT_IN_DICTIONARY_NAMES = {
    "heart_myocardium",
    "vertebrae_S1",
    "subcutaneous_fat",
    "portal_vein_and_splenic_vein",
    "intervertebral_discs",
}

# No published code list that could be checked has a code for these.
UNCODED = {
    "portal_vein_right_anterior",
    "portal_vein_right_posterior",
    "venous_sinuses",
    "septum_pellucidum",
    "lentiform_nucleus",
    "central_sulcus",
}
UNCODED_PAIRS = ("kidney_medulla_", "quadriceps_", "thigh_", "sartorius_")


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
        ("Kidney_L", "kidney_left"),
        ("Glnd_Adrenal_R", "adrenal_gland_right"),
        ("SpinalCord", "spinal_cord"),
        ("V_Venacava_I", "inferior_vena_cava"),
        ("Rib01_L", "rib_left_1"),
        ("Ventricle_L", "heart_ventricle_left"),
        ("Sys_Ventricular", "ventricles"),
    ],
)
def test_words_people_use_lead_to_one_name(word: str, name: str) -> None:
    assert structures.find(word).name == name


def test_a_tumour_of_no_stated_organ_is_said() -> None:
    assert structures.assumed(["liver", "tumor"]) == []
    assert structures.assumed(["liver_tumor", "kidney_left"]) == []
    (said,) = structures.assumed(["kidney_left", "tumor"])
    assert (
        said == "the label 'tumor' was taken as a tumour of the liver: name it otherwise if it lies elsewhere"
    )


def test_slicers_default_names_are_no_couinaud_segments() -> None:
    assert structures.lookup("Segment_1") is None
    assert structures.lookup("ventricle") is None  # the heart's to some, the brain's to others
    assert structures.find("Segment IV").name == "liver_segment_4"


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


def published_codes() -> dict[str, str]:
    """Every meaning of each SNOMED CT code in DICOM's dictionary, as one lower-case text."""
    found: dict[str, str] = {}
    for word, entry in concepts["SCT"].items():
        spaced = re.sub(r"(?<=[a-z])(?=[A-Z0-9])", " ", word)
        for code, info in entry.items():
            found[code] = f"{found.get(code, '')} {spaced} {info[0]}".lower()
    return found


def test_codes_are_those_of_the_dicom_dictionary() -> None:
    published = published_codes()
    missing = {
        s.name
        for s in structures.vocabulary().values()
        if s.snomed and s.snomed not in published and not s.name.startswith(NOT_IN_DICTIONARY)
    }
    assert missing == NOT_IN_DICTIONARY_NAMES
    assert structures.find("kidney_left").side_code == "7771000"
    assert structures.find("liver").side_code is None


def test_codes_mean_what_the_structure_is_and_no_other_side() -> None:
    published = published_codes()
    wrong = []
    for structure in structures.vocabulary().values():
        meaning = published.get(structure.snomed or "")
        if meaning is None:
            continue
        words = {w for text in (structure.name, structure.title, *structure.aliases) for w in _stems(text)}
        shared = words & set(_stems(meaning)) - {"left", "right", "of", "structure", "and", "tree"}
        if not shared and structure.kind != "tumour":
            wrong.append((structure.name, meaning))
        if structure.side and ({"left", "right"} & set(_stems(meaning))):
            wrong.append((structure.name, meaning))
    assert wrong == []


def _stems(text: str) -> list[str]:
    """Words without plural endings, British as American."""
    words = re.findall(r"[a-z]+|[0-9]+", text.lower().replace("oe", "e").replace("grey", "gray"))
    return [re.sub(r"(ae|s|al|ic|um|ar|ine)$", "", w) if len(w) > 4 else w for w in words]


def test_structures_without_a_code_are_these() -> None:
    uncoded = {s.name for s in structures.vocabulary().values() if s.snomed is None}
    assert {name for name in uncoded if not name.startswith(UNCODED_PAIRS)} == UNCODED


def test_every_published_class_is_in_the_vocabulary_and_coded_in_ct() -> None:
    for table, names in class_tables().items():
        assert [n for n in names.values() if structures.lookup(n) is None] == [], table
    for table, count in (
        ("totalsegmentator_v1", 104),
        ("totalsegmentator_v2", 117),
        ("totalsegmentator_mr", 50),
    ):
        names = class_tables()[table]
        assert len(set(names.values())) == len(names) == count
        assert [n for n in names.values() if structures.find(n).name != n] == []
        assert [n for n in names.values() if structures.find(n).snomed is None] == []
    assert [structures.find(f"liver_segment_{i}").snomed for i in (1, 4, 8)] == [
        "71133005",
        "277958008",
        "277962002",
    ]


@pytest.mark.parametrize(
    ("coded", "name"),
    [
        (Coded("SCT", "10200004"), "liver"),
        (Coded("SRT", "T-62000"), "liver"),
        (Coded("SCT", "64033007", "left"), "kidney_left"),
        (Coded("SCT", "39607008"), "lungs"),
        (Coded("SCT", "108369006", None, "10200004"), "liver_tumour"),
        (Coded("SCT", "108369006", "right", "64033007"), "kidney_tumour_right"),
        (Coded("SCT", "55603005"), "fat"),
        (Coded("SCT", "389081007"), "grey_matter"),
        (Coded("SCT", "64033007"), None),
        (Coded("SCT", "108369006"), None),
        (Coded("99LOCAL", "10200004"), None),
    ],
)
def test_codes_lead_to_structures(coded: Coded, name: str | None) -> None:
    found = structures.of_code(coded)
    assert (found.name if found else None) == name


def test_tissues_the_solver_needs() -> None:
    tissue = {name: s.tissue for name, s in structures.vocabulary().items()}
    assert tissue["liver"] == "liver"
    assert tissue["liver_tumour"] == "tumour"
    assert tissue["portal_vein"] == "portal_vein"
    assert tissue["portal_vein_and_splenic_vein"] == "portal_vein"
    assert tissue["hepatic_vein"] == "hepatic_vein"
    assert tissue["kidney_left"] == tissue["kidney_cortex_right"] == "kidney"
