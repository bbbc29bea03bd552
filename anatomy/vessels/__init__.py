"""Vessels: centrelines with calibre and order, systems told apart, what each branch feeds, Couinaud segments."""

from anatomy.vessels.centreline import CentrelineRules, centreline
from anatomy.vessels.couinaud import Couinaud, couinaud_segments
from anatomy.vessels.systems import LIVER_SYSTEMS, Systems, tell_apart
from anatomy.vessels.territories import Territories, territories
from anatomy.vessels.tree import Branch, VesselTree

__all__ = [
    "LIVER_SYSTEMS",
    "Branch",
    "CentrelineRules",
    "Couinaud",
    "Systems",
    "Territories",
    "VesselTree",
    "centreline",
    "couinaud_segments",
    "tell_apart",
    "territories",
]
