"""Exported C for the tests, compiled once per agent: random weights, both variants."""

import shutil

import pytest

from mast_edge.c_contract import CContract
from mast_edge.c_library import find_compiler, load_library
from mast_edge.contract import AgentContract
from mast_edge.errors import EnvironmentUnavailable
from mast_edge.export.c_source import c_files
from mast_edge.layers import layers_of
from mast_edge.runtime.backends.c_ import CModel
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
