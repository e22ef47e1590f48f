"""SMAC's interface over plain numbers, and the ways in which the real game breaks. Only for tests."""

__version__ = "0.1.0b1"
