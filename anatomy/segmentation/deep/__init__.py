"""Trained networks as segmenters, each behind an extra of its own and imported only when asked to segment."""
