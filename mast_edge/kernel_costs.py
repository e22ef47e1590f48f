"""What the native kernels cost on this machine, and so which table each layer of an agent runs from.

A layer can run from a dense table, from CSR, or from blocks of 8 or 4 rows; all give the same bits, so only
time decides. One product is taken to cost a constant for each of these:

    dense   the product; each input that is looked at because it may be 0; each input that is not 0, once for
            every panel of 64 or 16 rows (which waits for its sum), once for every 16 rows (which are loaded)
    csr     the product; each row; each weight
    8x1     the product; each group of 8 rows; each block, a column of a group with any weight
    4x1     the product; each group of 4 rows; each block

The constants are measured once, in 50 to 110 ms, when an agent is first loaded on a machine, and kept in the
user's cache under the processor's name. MAST_EDGE_KERNEL_COSTS=shipped takes those of one machine instead.

Source: runtime.md section 6, "Selection per layer".
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mast_edge.cache import cache_folder
from mast_edge.errors import MastEdgeError
from mast_edge.provenance import processor
from mast_edge.spec import AgentSpec

TABLES = ("dense", "csr", "8x1", "4x1")
HEIGHTS = {"csr": 1, "8x1": 8, "4x1": 4}
"""Rows of a group."""
OFTEN_ZERO = ("fc1", "gru_ih")
"""Layers behind observations or a ReLU: half of their inputs are 0, and the dense kernel leaves those out."""
Costs = Mapping[str, tuple[float, ...]]
"""Table -> nanoseconds of each of its terms, in the order above."""
SHIPPED: Costs = {
    "dense": (45.0, 2.6, 1.4, 0.4),
    "csr": (60.0, 1.5, 1.0),
    "8x1": (65.0, 2.0, 0.8),
    "4x1": (65.0, 2.0, 0.75),
}
"""Measured on an AVX-512 Xeon."""
_SHAPES = ((128, 14, 8, 64), (40, 60, 3, 32))
"""Sizes that are measured: obs, actions, agents, hidden."""
_DENSITIES = (0.02, 0.1, 0.4)
_ROWS, _ROUNDS = 16, 12
_VERSION = 1
"""Of the kernels and of the model; another one is measured anew."""


def terms(table: str, name: str, rows: int, cols: int, pieces: Mapping[str, int]) -> tuple[float, ...]:
    """How often each constant of a table is paid in one product of a layer.

    Args:
        table: a name in `TABLES`.
        name: of the layer.
        rows, cols: of its matrix; for fc1 without the columns of one-hots, which are never multiplied.
        pieces: weights (csr) and blocks (8x1, 4x1), by table.
    """
    if table != "dense":
        return 1.0, float(-(-rows // HEIGHTS[table])), float(pieces[table])
    wide, rest = divmod(-(-rows // 16), 4)
    looked_at, active = (cols, cols / 2) if name in OFTEN_ZERO else (0, cols)
    return 1.0, float(looked_at), (wide + rest) * active, (4 * wide + rest) * active


def predicted(costs: Costs, table: str, paid: tuple[float, ...]) -> float:
    """Nanoseconds of one product, from what `terms` says."""
    return sum(cost * times for cost, times in zip(costs[table], paid, strict=True))


@lru_cache(maxsize=1)
def kernel_costs() -> Costs:
    """The constants of this machine: from the cache, else measured and put there.

    Raises:
        ImportError: the native core was not built.
    """
    if os.environ.get("MAST_EDGE_KERNEL_COSTS") == "shipped":
        return SHIPPED
    path: Path | None = None
    with contextlib.suppress(MastEdgeError):
        path = cache_folder("kernels") / f"{_key()}.json"
    found = _read(path) if path is not None else None
    if found is not None:
        return found
    measured = measure()
    if path is not None:
        from mast_edge.atomic import write_atomically

        with contextlib.suppress(MastEdgeError):  # a full disk: measured again next time
            write_atomically(path, (json.dumps(measured, indent=1) + "\n").encode())
    return measured


def _key() -> str:
    from mast_edge.native import _core

    what = [_VERSION, processor(), _core.agent_compiler(), _core.kernel_path()]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]


def _read(path: Path) -> Costs | None:
    try:
        found = json.loads(path.read_bytes())
        costs = {table: tuple(float(number) for number in found[table]) for table in TABLES}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    fits = all(
        len(found) == len(SHIPPED[table]) and np.isfinite(found).all() and min(found) >= 0
        for table, found in costs.items()
    )
    return costs if fits else None


def measure() -> Costs:
    """Times every table at several sizes and densities, and fits the constants to medians of several rounds.

    Layer follows layer as in a step, and agent follows agent, so that caches and branch predictors hold what
    they hold when agents act.

    Raises:
        ImportError: the native core was not built.
    """
    trials = {
        table: [_trial(shape, density, table) for shape in _SHAPES for density in _DENSITIES]
        for table in TABLES
    }
    taken: dict[str, list[list[float]]] = {table: [] for table in TABLES}
    for _ in range(_ROUNDS):
        for table, found in trials.items():
            taken[table].append([ns for trial in found for ns in trial.times()])
    return {
        table: _fitted(np.concatenate([trial.paid for trial in found]), np.median(taken[table], axis=0))
        for table, found in trials.items()
    }


@dataclass(frozen=True, slots=True)
class _Trial:
    """An agent whose layers all run from one kind of table: `paid` (4, terms), and ns of a product (4,)."""

    paid: NDArray[np.float64]
    times: Callable[[], Sequence[float]]


def _trial(shape: tuple[int, int, int, int], density: float, table: str) -> _Trial:
    from mast_edge.native._core import AgentModel

    spec, draw = AgentSpec(*shape), np.random.RandomState(0)
    model = AgentModel(*shape)
    paid = []
    for name, (rows, cols) in spec.layer_shapes().items():
        height = HEIGHTS.get(table, 1)
        kept = np.repeat(draw.rand(-(-rows // height), cols) < density, height, axis=0)[:rows]
        indptr = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.uint32)
        columns = np.nonzero(kept)[1].astype(np.uint32)
        model.add(name, np.ones(len(columns), np.float32), columns, indptr, np.zeros(rows, np.float32), table)
        inner = spec.obs_dim if name == "fc1" else cols
        paid.append(terms(table, name, rows, inner, {table: int(kept[::height, :inner].sum())}))
    obs, x, hidden = (draw.rand(_ROWS, n).astype(np.float32) for n in (spec.obs_dim, *[spec.hidden_dim] * 2))
    for often_zero in (obs, x):
        often_zero[draw.rand(*often_zero.shape) < 0.5] = 0
    return _Trial(np.array(paid), lambda: model.layer_times(obs, x, hidden))


def _fitted(paid: NDArray[np.float64], taken: NDArray[np.float64]) -> tuple[float, ...]:
    """The constants, none below 0, of least relative squares: one that comes out negative is left out."""
    rows = paid / taken[:, None]
    kept = list(range(rows.shape[1]))
    while True:
        fit = np.linalg.lstsq(rows[:, kept], np.ones(len(rows)), rcond=None)[0]
        if (fit >= 0).all():
            break
        kept.pop(int(fit.argmin()))
    constants = np.zeros(rows.shape[1])
    constants[kept] = fit
    return tuple(round(float(value), 4) for value in constants)
