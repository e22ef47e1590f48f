"""Environments from the `env` section of a config: the one place that knows what each backend is given."""

from typing import Any

from mast_edge.config_fields import Env
from mast_edge.envs.base import BatchEnv
from mast_edge.registry import ENVIRONMENTS, resolve

ONLY_SIMULATED = ("spawn_jitter",)
"""Options that the game itself does not have."""


def make_battles(env: Env, n_envs: int, seed: int) -> BatchEnv:
    """E battles as the config says.

    Args:
        env: map, backend, and what belongs to it.
        n_envs: E.
        seed: of environment 0.

    Raises:
        ConfigError: unknown map, backend or option.
        EnvironmentUnavailable: the map or backend cannot be played here.
    """
    factory = resolve("env.backend", ENVIRONMENTS, env.backend)
    own: dict[str, Any] = {"games": env.smac} if env.backend == "smac" else {"profile": env.profile}
    battles: BatchEnv = factory(env.map, n_envs=n_envs, seed=seed, **own, **env.options)
    return battles


def played_by(env: Env, backend: str) -> Env:
    """The same game for another backend: an agent of the simulator can be tried in StarCraft II."""
    kept = {k: v for k, v in env.options.items() if backend != "smac" or k not in ONLY_SIMULATED}
    return Env(map=env.map, backend=backend, profile=env.profile, options=kept, smac=env.smac)
