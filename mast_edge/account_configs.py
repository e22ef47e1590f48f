"""Accounts of config files: Rule R of every setting, and what its agent really costs.

Source: accounting.md; cli.md (`account`).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mast_edge.accounting import Model, Setting, account
from mast_edge.config import ExperimentConfig, load_config
from mast_edge.config_files import variant_names
from mast_edge.contract import AgentContract
from mast_edge.costs import agent_costs
from mast_edge.costs.agent import random_agent
from mast_edge.envs.maps import env_spec
from mast_edge.envs.options import SmacOptions
from mast_edge.spec import LAYERS, EnvSpec
from mast_edge.topology import layer_pattern
from mast_edge.widths import network_widths


def account_configs(
    paths: Sequence[Path],
    overrides: Sequence[str] = (),
    *,
    variant: str | None = None,
    overlays: Sequence[Path] = (),
    measure: bool = False,
    on_agent: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """The `mast-edge/account/1` object of configs; `real` of each row is `AgentCosts.to_json`.

    Trained weights are not there yet, so real costs are those of an agent of the config's sizes, sparsity and
    patterns with seeded random weights and masks. Equal agents are looked at once.

    Args:
        paths: config files; all variants of one that holds several.
        overrides: `a.b=value` each.
        variant: only this one.
        overlays: files laid over each.
        measure: also take times (accounting.md 7.4, 7.5), one to three seconds per agent.
        on_agent: told how many agents are done, and how many there are.
    """
    settings, games = [], []
    for path in paths:
        every: list[str | None] = [*variant_names(path)] if variant is None else []
        for name in every or [variant]:
            config = load_config(path, overrides, variant=name, overlays=overlays)
            options = SmacOptions.of(config.env.options)
            env = env_spec(config.env.map, options, config.env.backend)
            settings.append(setting_of(config, env, str(path), name))
            games.append(env)
    result = account(*settings)
    agents = [_agent_key(*pair) for pair in zip(settings, games, strict=True)]
    distinct = dict.fromkeys(agents)
    real: dict[Any, dict[str, Any]] = {}
    for key in distinct:
        real[key] = agent_costs(random_agent(key[0], key[1], dict(key[2]), key[3]), measure).to_json()
        if on_agent is not None:
            on_agent(len(real), len(distinct))
    for row, key in zip(result["rows"], agents, strict=True):
        row["real"] = real[key]
    return result


def setting_of(config: ExperimentConfig, env: EnvSpec, name: str, variant: str | None = None) -> Setting:
    """What accounting has to know of a config.

    Args:
        config: complete.
        env: the battle's sizes.
        name: what its row is called.
        variant: which of the file's variants it is.
    """
    full = Model.of(config.algorithm, env, config.network)
    trained = Model.of(config.algorithm, env, network_widths(config, env))
    return Setting(
        config=name,
        map_name=config.env.map,
        method=config.method,
        sparsity=config.sparsity,
        model=full,
        narrow=None if trained == full else trained,
        pattern=config.topology.pattern,
        variant=variant,
    )


def _agent_key(setting: Setting, env: EnvSpec) -> tuple[Any, ...]:
    """What its agent's costs depend on: contract, sparsity, patterns, and the full size of a narrow one."""
    trained = setting.narrow or setting.model
    patterns = tuple((name, layer_pattern(setting.pattern, "agent", name)) for name in LAYERS)
    full = setting.model.agent if setting.narrow else None
    return AgentContract.of(trained.agent, env), setting.sparsity, patterns, full
