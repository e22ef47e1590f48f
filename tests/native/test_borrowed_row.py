"""What `AgentCell.act` takes as it is; for anything else it answers -1 and nothing has changed."""

import array

import numpy as np
import pytest

from mast_edge.layers import layers_of
from mast_edge.native._core import AgentCell
from mast_edge.native_agent import native_model
from tests.agents import TINY, random_agent

N_OBS, N_ACTIONS = TINY.obs_dim, TINY.n_actions


@pytest.fixture
def cell():
    return AgentCell(native_model(TINY, layers_of(*random_agent(TINY, 0.5)), {}), 0)


class Array(np.ndarray):
    """Not exactly numpy's type: goes through the buffer protocol."""


OBS = np.linspace(-1, 1, N_OBS).astype(np.float32)
AVAIL = np.array([0, 1, 1, 0, 1], np.uint8)


def odd(values, dtype):
    """The same values one byte beside any alignment."""
    dtype = np.dtype(dtype)
    room = np.zeros(len(values) * dtype.itemsize + 1, np.uint8)[1:].view(dtype)
    room[:] = values
    return room


def frozen(values):
    values = values.copy()
    values.flags.writeable = False
    return values


@pytest.mark.parametrize(
    ("obs", "avail"),
    [
        (OBS, AVAIL),
        (OBS, AVAIL.astype(bool)),
        (frozen(OBS), frozen(AVAIL)),
        (OBS.view(Array), AVAIL.view(Array)),
        (memoryview(OBS), memoryview(AVAIL)),
        (array.array("f", OBS), bytes(AVAIL)),
        (np.stack([OBS, OBS])[1], np.stack([AVAIL, AVAIL])[1]),
        (np.repeat(OBS, 3).reshape(N_OBS, 3)[:, 1].copy(), AVAIL),
    ],
)
def test_rows_that_are_taken(cell, obs, avail):
    expected = AgentCell(native_model(TINY, layers_of(*random_agent(TINY, 0.5)), {}), 0).act(OBS, AVAIL, True)
    assert expected in (1, 2, 4)
    assert cell.act(obs, avail, True) == expected


@pytest.mark.parametrize(
    ("obs", "avail"),
    [
        (None, AVAIL),
        (OBS, None),
        (OBS.tolist(), AVAIL),
        (OBS.astype(np.float64), AVAIL),
        (OBS.astype(np.float16), AVAIL),
        (OBS.astype(">f4"), AVAIL),
        (OBS.astype(np.int32), AVAIL),
        (OBS, AVAIL.astype(np.int8)),
        (OBS, AVAIL.astype(np.int64)),
        (OBS, AVAIL.astype(np.float32)),
        (OBS[:-1], AVAIL),
        (np.append(OBS, OBS[:1]), AVAIL),
        (OBS, AVAIL[:-1]),
        (OBS[None], AVAIL),
        (OBS, AVAIL[None]),
        (np.float32(1), AVAIL),
        (np.repeat(OBS, 2)[::2], AVAIL),
        (OBS[::-1], AVAIL),
        (OBS, np.repeat(AVAIL, 2)[::2]),
        (odd(OBS, np.float32), AVAIL),
        (odd(OBS, np.float32).view(Array), AVAIL),
        (np.full(N_OBS, np.nan, np.float32), AVAIL),
        (OBS, np.zeros(N_ACTIONS, np.uint8)),
        (OBS, np.zeros(N_ACTIONS, "V1")),
        (np.array([None] * N_OBS), AVAIL),
        (np.zeros(0, np.float32), AVAIL),
    ],
)
def test_rows_that_are_not(cell, obs, avail):
    assert cell.act(obs, avail, True) == -1
    assert cell.last_action == -1
    hidden, q = np.ones(TINY.hidden_dim, np.float32), np.ones(N_ACTIONS, np.float32)
    cell.read(hidden, q)
    assert not hidden.any()
    assert not q.any()
