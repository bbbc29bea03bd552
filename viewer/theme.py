"""How organtwin looks: one palette, one set of type sizes, one appearance for each kind of structure.

The room is dark, as a reading room is, so that tissue is the brightest thing in it; teal marks what can be
acted on, amber what is held, red only what is wrong. Structure colours come from the vocabulary in
`anatomy.structures`; here is only how much light they let through and how they shine.
"""

from __future__ import annotations

from dataclasses import dataclass

from anatomy import structures

Colour = tuple[float, float, float]

# sRGB hex, shared by the 3-D scene, the Qt style sheet and the slice views.
BACKGROUND = "#0b0f14"
BACKGROUND_TOP = "#1d2733"
PANEL = "#11171e"
RAISED = "#19212a"
LINE = "#26303b"
TEXT = "#e8eef4"
MUTED = "#8796a5"
ACCENT = "#4fc3b5"
HELD = "#ffb454"
GOOD = "#63d297"
WARN = "#f2c14e"
BAD = "#ff6b6b"
STEEL = "#c3ccd6"

STATE_COLOURS = {"converged": GOOD, "approaching": WARN, "stale": BAD}

WORDMARK = "organtwin"
RESEARCH_NOTICE = "Not a medical device; for research use only"


@dataclass(frozen=True)
class Look:
    """How a structure meets the light.

    Parameters
    ----------
    opacity : float
        Share of light it stops when seen face on, 0 to 1.
    specular : float
        Strength of its highlight, 0 to 1.
    gloss : float
        Phong exponent of the highlight: the higher, the wetter it looks.
    """

    opacity: float
    specular: float
    gloss: float


# Parenchyma lets the inside be seen; what lies inside or beside it is opaque; bone and muscle are only context.
PARENCHYMA = Look(opacity=0.5, specular=0.45, gloss=38.0)
_SOLID = Look(opacity=1.0, specular=0.35, gloss=26.0)
_CONTEXT = Look(opacity=0.25, specular=0.10, gloss=10.0)
_UNKNOWN_COLOUR = (170, 170, 180)


def look_of(name: str) -> Look:
    """How a structure meets the light unless the scene knows better."""
    structure = structures.lookup(name)
    context = structure is not None and structure.kind in ("bone", "region", "muscle", "fat")
    return _CONTEXT if context else _SOLID


def colour_of(name: str) -> Colour:
    """Red, green and blue of a structure, each 0 to 1; grey for a name outside the vocabulary."""
    structure = structures.lookup(name)
    red, green, blue = structure.colour if structure else _UNKNOWN_COLOUR
    return (red / 255, green / 255, blue / 255)


def title_of(name: str) -> str:
    """What a person reads for a structure: its title in the vocabulary, with a capital."""
    structure = structures.lookup(name)
    words = structure.title if structure else name.replace("_", " ")
    return words[:1].upper() + words[1:]


def rgb(colour: str) -> Colour:
    """Red, green and blue of a hex colour, each 0 to 1."""
    value = colour.lstrip("#")
    return (int(value[0:2], 16) / 255, int(value[2:4], 16) / 255, int(value[4:6], 16) / 255)


def hex_colour(colour: Colour) -> str:
    """Hex string of red, green and blue given 0 to 1."""
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in colour)
