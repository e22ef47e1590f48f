"""The battle written a second time, from smac.md 9 and physics.md alone: plain Python, no tricks.

Slow and independent of the native core, which has to give the same bits.
"""

from tests.envs.reference.battle import Reference
from tests.envs.reference.philox import philox

__all__ = ["Reference", "philox"]
