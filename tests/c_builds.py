"""Exported C for the tests, compiled once per agent: random weights, both variants."""

import ctypes
import shutil

import numpy as np
import pytest

from mast_edge.c_contract import CContract
from mast_edge.c_library import find_compiler, load_library
from mast_edge.contract import AgentContract
from mast_edge.errors import EnvironmentUnavailable
from mast_edge.export.c_source import c_files
from mast_edge.layers import layers_of
from mast_edge.runtime.backends.c_ import CModel, bound
from mast_edge.spec import AgentSpec
from mast_edge.topology import random_topology
from tests.agents import env_of, random_agent

COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]


def some_compiler():
    """The compiler at hand; without one the test is skipped."""
    try:
        return find_compiler()
    except EnvironmentUnavailable as problem:
        pytest.skip(str(problem))


def random_layers(spec, sparsity, precision, pattern="element", seed=0):
    """Tables of a random agent."""
    weights, masks = random_agent(spec, sparsity, seed, pattern)
    return layers_of(weights, masks, precision)


def compiled(spec, layers, precision, fc1_shift=11, tolerance=1e-5, prefix="agent"):
    """A `CModel` of these layers."""
    compiler = some_compiler()
    files = c_files(spec, layers, prefix, fc1_shift=fc1_shift)
    shift = fc1_shift if precision == "int8" else None
    contract = AgentContract.of(spec, env_of(spec))
    found = CContract(contract, prefix, precision, shift, 0.0 if shift else tolerance, {})
    return CModel(found, "", load_library(files, compiler), compiler)


def raw_steps(model, rows, hidden, q, prefix="agent"):
    """`<prefix>_step` on each row (B, F), in the types of the C; hidden (B, H) and q (B, A) are written."""
    step = bound(model.library, f"{prefix}_step", None, *[ctypes.c_void_p] * 3)
    for i in range(len(rows)):
        step(*(array[i].ctypes.data for array in (rows, hidden, q)))


def mixed_layers(precision, seed=4):
    """Every kind of layer in one small agent: blocks of 8, rows, blocks of 4 with short groups, dense."""
    spec = AgentSpec(obs_dim=21, n_actions=11, n_agents=3, hidden_dim=18)
    rng = np.random.default_rng(seed)
    patterns = {"fc1": "8x1", "gru_ih": "element", "gru_hh": "4x1", "fc2": "element"}
    masks = random_topology(spec.layer_shapes(), 0.8, rng, patterns)
    masks.pop("fc2")
    weights = {}
    for name, (out, in_) in spec.layer_shapes().items():
        dense = rng.normal(size=(out, in_)).astype(np.float32)
        weights[f"{name}.weight"] = np.where(masks.get(name, True), dense, np.float32(0))
        weights[f"{name}.bias"] = rng.normal(size=out).astype(np.float32)
    return spec, layers_of(weights, masks, precision)
