"""Which runs can be trained at once: those of equal shapes, with the same clock of updates."""

from collections.abc import Sequence
from typing import Any

from mast_edge.config import run_name
from mast_edge.config_fields import ExperimentConfig
from mast_edge.envs.maps import env_spec
from mast_edge.envs.options import SmacOptions
from mast_edge.errors import ConfigError
from mast_edge.widths import network_widths


def check_equal_shapes(configs: Sequence[ExperimentConfig]) -> None:
    """Refuses runs that do not fit together.

    Raises:
        ConfigError: names two runs and what differs.
    """
    first = _shape(configs[0])
    for config in configs[1:]:
        for name, value in _shape(config).items():
            if value != first[name]:
                raise ConfigError(
                    f"sweep: {name} must be the same in all runs that are trained at once; got {first[name]} "
                    f"in {run_name(configs[0])} and {value} in {run_name(config)}. Use --engine local, or "
                    "sweep them apart."
                )


def _shape(config: ExperimentConfig) -> dict[str, Any]:
    """What must be equal, in the words of the config; for method tiny the widths are those it trains."""
    options = SmacOptions.of(config.env.options)
    spec = env_spec(config.env.map, options, config.env.backend)
    widths = network_widths(config, spec)
    return {
        "algorithm": config.algorithm,
        "env.map": config.env.map,
        "env.backend": config.env.backend,
        "obs_dim (env.options)": spec.obs_dim,
        "state_dim (env.options)": spec.state_dim,
        "network.hidden_dim": widths.hidden_dim,
        "network.mixer_embed_dim": widths.mixer_embed_dim,
        "network.hypernet_dim": widths.hypernet_dim,
        "network.central_dim": widths.central_dim,
        "replay.batch_size": config.replay.batch_size,
        "rollout.n_envs": config.rollout.n_envs,
        "rollout.updates_per_episode": config.rollout.updates_per_episode,
    }
