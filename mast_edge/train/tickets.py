"""Tickets: a fixed topology, taken from a finished run or drawn at random (paper section 5.3, Figure 9).

A winning ticket is the final masks of a MAST or RigL run, a random one is drawn like any first masks; both
are frozen and, with `ticket_init: fresh`, start from weights that neither run had. The cheating ticket is the
MAST run itself.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from mast_edge.checkpoint_folders import verify_checkpoint
from mast_edge.config_fields import ExperimentConfig
from mast_edge.errors import ConfigError
from mast_edge.runs import find_run
from mast_edge.topology import Shapes, Topology, layer_blocks, layer_pattern
from mast_edge.train.checkpoint import STATE_FILE

RANDOM = "random"
WEIGHTS, TICKET_WEIGHTS = "weights", "ticket weights"
"""Streams of first weights: tickets start afresh unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """Where a run begins.

    Attributes:
        masks: network -> topology; None: the method draws them.
        seed: of the first weights.
        stream: name of the random stream of the first weights.
    """

    masks: dict[str, Topology] | None
    seed: int
    stream: str


def take_ticket(
    config: ExperimentConfig, networks: dict[str, Shapes], runs_root: Path | None = None
) -> Ticket:
    """The masks and the first weights that `topology.ticket` and `topology.ticket_init` ask for.

    Args:
        config: resolved.
        networks: network -> layer -> (out, in) of the run that will wear the masks.
        runs_root: where run folders live; `mast_edge.runs.runs_root()` when None.

    Raises:
        MissingInput: there is no such run.
        ConfigError: it is not complete, or its masks do not fit these networks at this sparsity.
    """
    name = config.topology.ticket
    fresh = bool(name) and config.topology.ticket_init == "fresh"
    stream = TICKET_WEIGHTS if fresh else WEIGHTS
    if name in ("", RANDOM):
        return Ticket(None, config.seed, stream)
    run = find_run(name, runs_root)
    found = run.manifest
    fits = (found.algorithm, found.map, found.sparsity) == (config.algorithm, config.env.map, config.sparsity)
    if run.status != "complete" or not fits:
        finish = f"Finish it: mast-edge train {run.path / 'config.resolved.yaml'}"
        raise ConfigError(
            f"train: topology.ticket must be a complete run of {config.algorithm} on {config.env.map} at "
            f"sparsity {config.sparsity:g}; got {run.path.name}, {run.status}, {found.algorithm} on "
            f"{found.map} at {found.sparsity:g}. {finish if fits else 'Choose another run.'}"
        )
    verify_checkpoint(run.checkpoint)
    arrays = load_file(run.checkpoint / STATE_FILE)
    masks: dict[str, Topology] = {network: {} for network in networks}
    for network, shapes in networks.items():
        for layer, shape in shapes.items():
            bits = arrays.get(f"mask.{network}.{layer}")
            if bits is None:
                continue
            size = int(np.prod(shape))
            if bits.size != (size + 7) // 8:
                raise ConfigError(
                    f"train: topology.ticket must have masks for {network}.{layer} of {shape}; got "
                    f"{bits.size} bytes in {run.path.name}. Choose a run with the same network widths."
                )
            mask = np.unpackbits(bits, count=size).reshape(shape).astype(bool)
            pattern = layer_pattern(config.topology.pattern, network, layer)
            grouped = layer_blocks(layer, len(mask), pattern)
            if not np.array_equal(grouped.spread(grouped.whole(mask)), mask):
                raise ConfigError(
                    f"train: topology.ticket must have masks of whole {pattern} blocks in {network}.{layer}; "
                    f"got others in {run.path.name}. Set topology.pattern as it was there."
                )
            masks[network][layer] = mask
    if not any(masks.values()):
        raise ConfigError(
            f"train: topology.ticket must be a run with masks; got {run.path.name}, method {found.method}. "
            "Choose one of method mast or rigl."
        )
    return Ticket(masks, config.seed if fresh else found.seed, stream)
