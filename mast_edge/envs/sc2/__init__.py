"""A stand-in for StarCraft II: its API, answered from the embedded simulator.

Unmodified clients (pysc2, SMAC's `StarCraft2Env`, PyMARL) talk to it as they talk to the game.

Source: smac.md 12.
"""
