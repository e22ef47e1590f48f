"""What became of a topology: kept weights, turnover, ages and idle units, layer by layer."""

from typing import Any

import numpy as np

from mast_edge.train.learners.torch import TorchLearner


def topology_facts(learner: TorchLearner) -> dict[str, dict[str, Any]]:
    """`network.layer` -> facts of every masked layer.

    Returns:
        nnz and density; replaced, the share of kept weights that the last evolution exchanged; age_mean and
        age_max, updates since the kept weights were grown; original, the share kept since the start;
        idle_outputs and idle_inputs, units whose row or column keeps no weight.
    """
    facts: dict[str, dict[str, Any]] = {}
    for network, topology in learner.topologies.items():
        for layer, mask in topology.items():
            born = learner.born[network][layer][mask]
            ages = learner.updates - born
            name = f"{network}.{layer}"
            facts[name] = {
                "nnz": int(mask.sum()),
                "density": float(mask.mean()),
                "replaced": learner.replaced.get(name, 0.0),
                "age_mean": float(ages.mean()),
                "age_max": int(ages.max()),
                "original": float(np.mean(born == 0)),
                "idle_outputs": int((~mask.any(1)).sum()),
                "idle_inputs": int((~mask.any(0)).sum()),
            }
    return facts
