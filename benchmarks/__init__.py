"""Measured ratios against peers and references; never part of the tests."""
