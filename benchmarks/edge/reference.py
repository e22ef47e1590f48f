"""What exported C must do, worked out here: by the native kernels in floats, by `fixed_point` in integers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.checkpoint_files import Recorded
from mast_edge.export.c_selftest import selftest_tolerance
from mast_edge.export.job import Job
from mast_edge.fixed_point import FixedPointAgent, fc1_shift_of, largest_fc1
from mast_edge.golden import golden_answers
from mast_edge.native_agent import native_model

Step = Callable[[NDArray[Any], NDArray[Any], NDArray[Any]], tuple[NDArray[Any], NDArray[Any]]]
"""obs (N, O), last actions (N,), hidden (N, H) -> q (N, A), hidden (N, H)."""

_FNV_START, _FNV_PRIME = 2_166_136_261, 16_777_619


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """What `replay.c` is to say.

    Attributes:
        actions: (M, N), each agent seeing its own last action.
        bits: FNV-1a over hidden states and Q values, agent by agent, step by step.
        tolerance: how far a Q value of the self test may be off.
    """

    actions: NDArray[np.int64]
    bits: int
    tolerance: float = 0.0


def expected(job: Job, recorded: Recorded) -> Expected:
    """The reference of a job's precision along recorded observations."""
    spec, layers = job.contract.spec, job.layers()
    if job.precision == "int8":
        return replayed(integer_step(job), recorded, spec.hidden_dim, np.int16, np.int32)
    golden_q, _ = golden_answers(spec, lambda name, x: layers[name].affine(x))
    found = replayed(float_step(job), recorded, spec.hidden_dim, np.float32, np.float32)
    return replace(found, tolerance=selftest_tolerance(golden_q))


def float_step(job: Job) -> Step:
    """The native kernels over the tables of a job."""
    spec, layers = job.contract.spec, job.layers()
    tables = {name: layer.pattern.replace("element", "csr") for name, layer in layers.items()}
    native = native_model(spec, layers, tables)
    ids = np.arange(spec.n_agents)

    def step(
        obs: NDArray[Any], last: NDArray[Any], hidden: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        after, q = hidden.copy(), np.empty((len(obs), spec.n_actions), np.float32)
        native.step_many(obs, last, ids, after, q)
        return q, after

    return step


def integer_step(job: Job) -> Step:
    """`FixedPointAgent` over the tables of a job."""
    spec, layers = job.contract.spec, job.layers()
    shift = fc1_shift_of(largest_fc1(spec, layers["fc1"], job.reference.recorded))
    agent, ids = FixedPointAgent(spec, layers, shift), np.arange(spec.n_agents)

    def step(
        obs: NDArray[Any], last: NDArray[Any], hidden: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        return agent.step(agent.rows_of(obs, last, ids), hidden.astype(np.int64))

    return step


def replayed(
    step: Step, recorded: Recorded, hidden_dim: int, hidden_type: type, q_type: type
) -> Expected:
    """Plays recorded observations, each agent with its own last actions; types and order are those of C."""
    m, n = recorded.actions.shape
    actions, bits = np.empty((m, n), np.int64), _FNV_START
    hidden, last = np.zeros((n, hidden_dim), hidden_type), np.full(n, -1)
    for t in range(m):
        if recorded.first[t]:
            hidden, last = np.zeros_like(hidden), np.full(n, -1)
        q, hidden = step(recorded.obs[t], last, hidden)
        q, hidden = q.astype(q_type), hidden.astype(hidden_type)
        least = np.iinfo(q_type).min if np.issubdtype(q_type, np.integer) else -np.inf
        last = np.where(recorded.avail[t] != 0, q, least).argmax(axis=1)
        actions[t] = last
        for agent in range(n):
            bits = fnv1a(hidden[agent].tobytes() + q[agent].tobytes(), bits)
    return Expected(actions, bits)


def fnv1a(data: bytes, digest: int = _FNV_START) -> int:
    """32-bit FNV-1a, going on from `digest`."""
    for byte in data:
        digest = ((digest ^ byte) * _FNV_PRIME) & 0xFFFFFFFF
    return digest
