"""Plays with the unmodified StarCraft2Env and saves all that it shows.

Arguments: map, seed, episodes, file to write. Runs in an interpreter that has SMAC and pysc2, which need not
have mast_edge.
"""

import sys
import time
from typing import Any

import numpy as np
from smac.env import StarCraft2Env


def main(map_name: str, seed: int, episodes: int, path: str) -> None:
    env, rng = StarCraft2Env(map_name=map_name, seed=seed), np.random.default_rng(seed)
    names = ("first", "obs", "state", "avail", "actions", "reward", "end")
    seen: dict[str, list[Any]] = {name: [] for name in names}
    steps, begun = 0, time.perf_counter()
    for episode in range(episodes):
        env.reset()
        terminated, first = False, True
        while not terminated:
            avail = np.array(env.get_avail_actions())
            scores = rng.random(avail.shape) + avail
            if episode % 2 == 0:
                scores[:, 6:] += avail[:, 6:]
            actions = scores.argmax(axis=-1)
            before = (first, np.array(env.get_obs()), env.get_state(), avail, actions)
            reward, terminated, info = env.step(actions)
            end = (terminated, info["battle_won"], info["dead_allies"], info["dead_enemies"])
            for name, value in zip(seen, (*before, reward, end), strict=True):
                seen[name].append(value)
            first = False
            steps += 1
    print(f"{map_name}: {steps} steps, {steps / (time.perf_counter() - begun):.1f} a second", file=sys.stderr)
    env.save_replay()
    env.close()
    np.savez(path, **{name: np.array(values) for name, values in seen.items()})


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
