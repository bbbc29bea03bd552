"""Measurements of speed and accuracy, one benchmark a file; `organtwin bench` runs them and prints ratios."""
