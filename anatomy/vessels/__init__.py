"""Vessels: centrelines with calibre and order, systems told apart, what each branch feeds, Couinaud segments."""
