"""Vessels: centrelines with calibre and order, systems told apart, what each branch feeds, Couinaud segments."""

from anatomy.vessels.centreline import CentrelineRules, centreline
from anatomy.vessels.couinaud import Couinaud, couinaud_segments
from anatomy.vessels.liver import LiverVessels, liver_vessels
from anatomy.vessels.systems import LIVER_SYSTEMS, Systems, tell_apart
from anatomy.vessels.territories import Territories, territories
from anatomy.vessels.tree import Branch, VesselTree

__all__ = [
    "LIVER_SYSTEMS",
    "Branch",
    "CentrelineRules",
    "Couinaud",
    "LiverVessels",
    "Systems",
    "Territories",
    "VesselTree",
    "centreline",
    "couinaud_segments",
    "liver_vessels",
    "tell_apart",
    "territories",
]
