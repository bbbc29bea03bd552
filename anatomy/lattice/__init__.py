"""The lattice mesher's parts: smooth label fields, the graded lattice, its cutting, cleaning and improving.

`anatomy.meshing.mesh_labels` puts them together. The method is isosurface stuffing (Labelle & Shewchuk 2007)
on an octree-graded body-centred cubic lattice, carried over to any number of labels as lattice cleaving does
(Bronson, Levine & Whitaker 2012).
"""
