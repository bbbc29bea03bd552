"""Scans made from a seed, so that the first command works out of the box and no patient's data is shipped."""
