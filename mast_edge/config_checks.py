"""What no single type can check of a config: names from registries, and values that must fit one another."""

from collections.abc import Collection
from itertools import pairwise

from mast_edge.config_fields import ExperimentConfig
from mast_edge.located import Origins, reject
from mast_edge.registry import ALGORITHMS, ENVIRONMENTS, SPARSE_METHODS, nearest
from mast_edge.spec import LAYERS, central_mixer_shapes, mixer_shapes

NETWORKS = {
    "agent": LAYERS,
    "mixer": tuple(mixer_shapes(1, 1, 1, 1)),
    "cagent": LAYERS,
    "cmixer": tuple(central_mixer_shapes(1, 1, 1)),
}
"""Network -> its weight matrices (algorithms.md 2, 7.1)."""
TICKETS = ("", "random")
"""Tickets that name no run."""


def check(config: ExperimentConfig, masked: Collection[str], origins: Origins, source: str) -> None:
    """Refuses names that no registry has and values that contradict one another.

    Args:
        config: every value filled in and of the right type.
        masked: the methods that mask weights.
        origins: where each value was written.
        source: named when a value has no origin.

    Raises:
        ConfigError: the first contradiction.
    """
    _check_names(config, origins, source)
    _check_order(config, origins, source)
    _check_target(config, origins, source)
    _check_topology(config, masked, origins, source)
    if config.env.options.get("heuristic_ai"):
        path, rule = ("env", "options", "heuristic_ai"), "false where agents learn"
        raise reject(path, rule, True, origins, source, "The heuristic would play in their place.")


def _check_names(config: ExperimentConfig, origins: Origins, source: str) -> None:
    for path, name, table in (
        (("algorithm",), config.algorithm, ALGORITHMS),
        (("method",), config.method, SPARSE_METHODS),
        (("env", "backend"), config.env.backend, ENVIRONMENTS),
    ):
        if name not in table:
            advice = nearest(name, table).strip()
            raise reject(path, f"one of {', '.join(table)}", name, origins, source, advice)


def _check_order(config: ExperimentConfig, origins: Origins, source: str) -> None:
    """Bounds that are values of the config themselves."""
    replay, exploration = config.replay, config.exploration
    at_most: list[tuple[str, str, float, str, float]] = [
        ("replay", "batch_size", replay.batch_size, "replay.capacity", replay.capacity),
        ("replay", "online_capacity", replay.online_capacity, "replay.capacity", replay.capacity),
        ("replay", "online_share", replay.online_share, "replay.batch_size", replay.batch_size),
        ("replay", "online_share", replay.online_share, "replay.online_capacity", replay.online_capacity),
        ("exploration", "end", exploration.end, "exploration.start", exploration.start),
    ]
    if replay.dynamic:
        at_most.append(("replay", "min_capacity", replay.min_capacity, "replay.capacity", replay.capacity))
    for section, key, value, bound_name, bound in at_most:
        if value > bound:
            raise reject((section, key), f"at most {bound_name} ({bound})", value, origins, source)
    if replay.dynamic and replay.min_capacity < replay.batch_size:
        rule = f"at least replay.batch_size ({replay.batch_size})"
        raise reject(("replay", "min_capacity"), rule, replay.min_capacity, origins, source)


def _check_target(config: ExperimentConfig, origins: Origins, source: str) -> None:
    target = config.target
    if target.lambda_ > 0 and target.returns != "td_lambda":
        rule, advice = f"0 where target.returns is {target.returns}", "Set target.returns=td_lambda."
        raise reject(("target", "lambda"), rule, target.lambda_, origins, source, advice)
    if target.operator == "joint_softmax" and config.algorithm == "ow_qmix":
        rule = "an operator on one agent's values where algorithm is ow_qmix"
        advice = "Take soft_mellowmax or max_double."
        raise reject(("target", "operator"), rule, target.operator, origins, source, advice)


def _check_topology(config: ExperimentConfig, masked: Collection[str], origins: Origins, source: str) -> None:
    topology = config.topology
    if not isinstance(topology.pattern, str):
        for key in topology.pattern:
            _check_pattern_key(key, origins, source)
    for at, (before, after) in enumerate(pairwise(topology.snapshots), 1):
        if after <= before:
            path = ("topology", "snapshots", at)
            raise reject(path, f"greater than the share before it ({before})", after, origins, source)
    if topology.ticket and config.method not in masked:
        rule = f"empty where method is {config.method}, which has no masks"
        advice = f"Take one of the methods {', '.join(masked)}."
        raise reject(("topology", "ticket"), rule, topology.ticket, origins, source, advice)
    if topology.ticket in SPARSE_METHODS and topology.ticket not in masked:
        rule = f"random, a method with masks ({', '.join(masked)}) or a finished run"
        raise reject(("topology", "ticket"), rule, topology.ticket, origins, source)
    if topology.ticket_init == "original" and topology.ticket in TICKETS:
        rule, advice = "fresh where topology.ticket names no run", "Name a method or a finished run there."
        raise reject(("topology", "ticket_init"), rule, topology.ticket_init, origins, source, advice)


def _check_pattern_key(key: str, origins: Origins, source: str) -> None:
    layers = [f"{network}.{layer}" for network, names in NETWORKS.items() for layer in names]
    if key in NETWORKS or key in LAYERS or key in layers:
        return
    network = key.partition(".")[0] if "." in key else ""
    network = network if network in NETWORKS else "mixer"
    rule = (
        f"a network ({', '.join(NETWORKS)}), a layer of the agent ({', '.join(LAYERS)}) or of a network "
        f"({', '.join(f'{network}.{layer}' for layer in NETWORKS[network])})"
    )
    hint = nearest(key, [*NETWORKS, *LAYERS, *layers]).strip()
    raise reject(("topology", "pattern", key), rule, key, origins, source, hint)
