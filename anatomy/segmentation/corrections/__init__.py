"""What each kind of correction does to a mask: the random walk of seeds, the stroke of a brush, drawn outlines."""
