"""Peer of `benchmarks/env.py`: SMAC's own Python class, with `mast-edge serve-sc2` in the place of the game.

Started by `env.py` in an interpreter that has smac and pysc2 and need not have mast_edge; SC2PATH names the
stand-in. Argument: the map. Reads a number of seconds per line, plays about that long, and answers each
line with a JSON object.

Counted: `step`, `reset`, `get_obs`, `get_state` and `get_avail_actions`, by the CPU time of this process
alone. What the game would cost comes on top. Protobuf runs in its pure Python mode, as s2clientprotocol's
code needs with protobuf 4 or later; `env.py` notes the mode in its result.
"""

import json
import os
import sys
import time
from typing import Any

import numpy as np


class Battle:
    """One battle after another, played by random legal actions."""

    def __init__(self, map_name: str) -> None:
        """Starts the stand-in and the first episode."""
        from smac.env import StarCraft2Env

        self.env: Any = StarCraft2Env(map_name=map_name, seed=0)
        self.rng = np.random.default_rng(0)
        self.env.reset()
        self.avail = self.look()

    def look(self) -> Any:
        """All that a runner asks for after a step; returns what is available."""
        self.env.get_obs()
        self.env.get_state()
        return np.array(self.env.get_avail_actions())

    def play(self, seconds: float) -> dict[str, float]:
        """Plays until this process has used `seconds`; returns steps, CPU and wall seconds."""
        steps, spent, lasted = 0, 0.0, 0.0
        while spent < seconds:
            actions = (self.rng.random(self.avail.shape) + self.avail).argmax(axis=-1)
            cpu, wall = time.process_time(), time.perf_counter()
            if self.env.step(actions)[1]:
                self.env.reset()
            self.avail = self.look()
            spent += time.process_time() - cpu
            lasted += time.perf_counter() - wall
            steps += 1
        return {"steps": steps, "cpu": spent, "wall": lasted}


def main() -> None:
    """Answers lines until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # pysc2 and pygame print
    battle = Battle(sys.argv[1])
    battle.play(0.2)
    from google.protobuf.internal import api_implementation

    mode = f"protobuf in {api_implementation.Type()} mode"
    print(json.dumps({"peer": mode}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(battle.play(float(line))), file=answers, flush=True)
    battle.env.close()


if __name__ == "__main__":
    main()
