"""Prints a digest of what battles on all maps show, played by a given build of the native core.

Run: `python tests/native/digest.py [BUILD.so] [--threads N]`; the installed build when none is named.
"""

import argparse
import hashlib
import importlib.util
import sys

import numpy as np


def use_build(path: str) -> None:
    """Puts a build in the place of the installed native core; to be called before anything imports it."""
    spec = importlib.util.spec_from_file_location("mast_edge.native._core", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mast_edge.native._core"] = module
    spec.loader.exec_module(module)


def battles_digest(steps: int = 40, threads: int = 1) -> str:
    """SHA-256 over obs, state, avail, rewards and units of four battles per map, random and nearest play."""
    from mast_edge.envs.maps import map_names
    from mast_edge.envs.scripted import NearestPolicy, RandomPolicy
    from mast_edge.envs.skirmish import Skirmish

    digest = hashlib.sha256()
    for name in map_names():
        env, rng = Skirmish(name, 4, seed=2024, threads=threads), np.random.default_rng(7)
        env.reset()
        for _ in range(steps):
            choices = RandomPolicy(rng).act(env), NearestPolicy().act(env)
            outcome = env.step(np.where(rng.random(choices[0].shape) < 0.4, *choices))
            for array in (env.obs, env.state, env.avail, outcome.reward, env.units()):
                digest.update(array.tobytes())
            env.reset(outcome.terminated)
    return digest.hexdigest()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", nargs="?")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.build:
        use_build(arguments.build)
    print(battles_digest(threads=arguments.threads))
