"""int8 weights that are rounded up or down by what it does to the layer's output, not each by itself.

A sparse row has few weights, so that their rounding errors do not average out as in a dense one. Layer after
layer, every weight goes to the neighbouring step that keeps the row's output along the recorded episodes
nearest to what it was, given the inputs that the layers already rounded give it; the bias takes up the mean.
Scales stay those of `layers.quantised`, so that the file is an ordinary int8 one.

Source: Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training Quantization", section 3: the
error of a row is quadratic in the rounding. Deviation: descent by single weights, not a relaxation.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mast_edge.checkpoint_files import AgentCheckpoint, Recorded
from mast_edge.dense_agent import DenseAgent, Floats, replay
from mast_edge.layers import LARGEST_INT8, quantised
from mast_edge.spec import LAYERS, AgentSpec

Doubles = NDArray[np.float64]
_EXACT = 1e-4
"""A weight this near to a step stays there, so that the largest of a row keeps its scale."""


def rounded_weights(checkpoint: AgentCheckpoint, recorded: Recorded) -> dict[str, Floats]:
    """The weights of an agent, each on a step of int8, and biases that make up for the mean error.

    Args:
        checkpoint: float32 weights and masks.
        recorded: the episodes whose activations count.

    Returns:
        `<layer>.weight` and `<layer>.bias`; `layers.quantised` gives back the steps that were chosen.
    """
    given = _layer_inputs(checkpoint.spec, checkpoint.weights, recorded)
    found = dict(checkpoint.weights)
    for name in LAYERS:
        weight, bias = checkpoint.weights[f"{name}.weight"], checkpoint.weights[f"{name}.bias"]
        wanted = given[name] @ weight.T.astype(np.float64)
        seen = _layer_inputs(checkpoint.spec, found, recorded)[name]
        rounded = rounded_rows(weight, seen, wanted)
        found[f"{name}.weight"] = rounded
        error = seen.mean(axis=0) @ rounded.T.astype(np.float64) - wanted.mean(axis=0)
        found[f"{name}.bias"] = (bias - error).astype(np.float32)
    return found


def _layer_inputs(spec: AgentSpec, weights: Mapping[str, Floats], recorded: Recorded) -> dict[str, Doubles]:
    """Layer -> what it sees along the recorded episodes, (decisions, in)."""
    agent = DenseAgent(spec, weights)
    seen: dict[str, list[Floats]] = {name: [] for name in LAYERS}

    def affine(name: str, x: Floats) -> Floats:
        seen[name].append(x.copy())
        return agent.affine(name, x)

    replay(affine, spec, recorded)
    return {name: np.concatenate(rows).astype(np.float64) for name, rows in seen.items()}


def rounded_rows(weight: Floats, seen: Doubles, wanted: Doubles) -> Floats:
    """A matrix on steps of int8, its outputs as near to the wanted ones as single changes get.

    With C the covariance of the inputs and k theirs with the wanted output, the squared error of a row w is
    w' C w - 2 w' k, the mean being the bias's affair. From the nearest steps on, the one change that lowers
    it most is made until none does.

    Args:
        weight: (out, in).
        seen: (decisions, in).
        wanted: (decisions, out), without bias.

    Returns:
        (out, in) float32, zeros where `weight` has them.
    """
    steps, scale = quantised(weight)
    centred = seen - seen.mean(axis=0)
    covariance = centred.T @ centred / len(seen)
    with_wanted = centred.T @ (wanted - wanted.mean(axis=0)) / len(seen)
    for row in range(len(weight)):
        columns = np.flatnonzero(weight[row])
        exact = weight[row, columns].astype(np.float64) / scale[row]
        c, k = covariance[np.ix_(columns, columns)], with_wanted[columns, row] / scale[row]
        steps[row, columns] = _descend(exact, steps[row, columns], c, k)
    rounded: Floats = steps.astype(np.float32) * scale[:, None]
    return rounded


def _descend(exact: Doubles, nearest: NDArray[np.int8], c: Doubles, k: Doubles) -> Doubles:
    """The steps of one row: `exact` rounded up or down, from `nearest` on."""
    chosen, below = nearest.astype(np.float64), np.floor(exact)
    while len(chosen):
        other = np.where(chosen == below, below + 1, below)
        change = other - chosen
        gain = 2 * change * (c @ chosen - k) + change**2 * c.diagonal()
        gain[(np.abs(chosen - exact) < _EXACT) | (np.abs(other) > LARGEST_INT8)] = np.inf
        best = int(gain.argmin())
        if not gain[best] < -1e-12:
            break
        chosen[best] = other[best]
    return chosen
