"""The tables of docs/tissues.md are those of the tissue table."""

import tomllib
from importlib import resources

from solver.materials import LAWS
from solver.tissues import table
from tests.generated import check_section, markdown_table

# Membranes are part of a law and keep no word of where they come from.
SAID = tomllib.loads(resources.files("solver").joinpath("tissues.toml").read_text(encoding="utf-8"))[
    "membranes"
]
LAW_NAMES = {law: name for name, law in LAWS.items()}


def _range(toughness):
    low, high = toughness.low_J_m2, toughness.high_J_m2
    return "one value" if low == high else f"{low:g} to {high:g}"


def test_mechanics():
    head = ["tissue", "law", "shear modulus (kPa)", "density (kg/m³)", "confidence", "source", "note"]
    rows = []
    for name, t in table().tissues.items():
        spread = "" if t.spread_kPa is None else f" ± {t.spread_kPa:g}"
        shear, density = f"{t.law.initial_shear_kPa:.4g}{spread}", f"{t.density_kg_mm3 * 1e9:g}"
        rows.append([name, LAW_NAMES[type(t.law)], shear, density, t.confidence, t.source, t.note])
    check_section("tissues.md", "mechanics", markdown_table(head, rows))


def test_membranes_and_ligaments():
    head = ["name", "stiffness"]
    rows = [
        [
            name,
            f"µ = {m.mu_kPa / 1000:g} MPa, {m.thickness_mm:g} mm thick "
            f"({SAID[name]['confidence']}; {SAID[name]['source']})",
        ]
        for name, m in table().membranes.items()
    ]
    rows += [
        [f"{name} ligament", f"{c.stiffness_N_mm:g} ± {c.spread_N_mm:g} N/mm ({c.confidence}; {c.source})"]
        for name, c in table().ligaments.items()
    ]
    check_section("tissues.md", "membranes and ligaments", markdown_table(head, rows))


def test_heat():
    head = [
        "tissue",
        "density (kg/m³)",
        "specific heat (J/kg/K)",
        "conductivity (W/m/K)",
        "perfusion (ml/min/kg)",
    ]
    rows = [
        [
            name,
            *(
                f"{v:g}"
                for v in (
                    t.density_kg_m3,
                    t.specific_heat_J_kg_K,
                    t.conductivity_W_m_K,
                    t.perfusion_ml_min_kg,
                )
            ),
        ]
        for name, t in table().thermal.items()
    ]
    (source,) = {t.source for t in table().thermal.values()}
    check_section("tissues.md", "heat", f"{source}.\n\n{markdown_table(head, rows)}")


def test_toughness():
    head = ["tissue", "energy (J/m²)", "range (J/m²)", "source", "note"]
    rows = [
        [name, f"{t.energy_J_m2:g}", _range(t), t.source, t.note] for name, t in table().toughness.items()
    ]
    check_section("tissues.md", "toughness", markdown_table(head, rows))


def test_strength():
    rows = [
        [name, f"{100 * s.strain:.0f} ± {100 * s.spread:.0f}", s.source]
        for name, s in table().strength.items()
    ]
    text = markdown_table(["tissue", "first principal strain at failure (%)", "source"], rows)
    check_section("tissues.md", "strength", text)
