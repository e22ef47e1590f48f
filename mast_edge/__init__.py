"""mast-edge: train teams of sparse cooperative agents, export them, and prove that they still win."""

__version__ = "0.1.0"
