import os

import pytest

from mast_edge.envs.smac_worker import descendants
from mast_edge.export import export_run
from tests.agents import MAP_3M, TINY, write_checkpoint
from tests.runtime import apart


@pytest.fixture(autouse=True)
def _children_of_this_test_alone():
    """`apart.children` counts from here."""
    apart.already.clear()
    apart.already.update(descendants(os.getpid()))


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """(spec, sparsity) -> checkpoint folder with csr, onnx and c exports beside it, made once."""
    made = {}

    def make(spec=MAP_3M, sparsity=0.9):
        if (spec, sparsity) not in made:
            folder = write_checkpoint(tmp_path_factory.mktemp("run") / "checkpoint", spec, sparsity)
            export_run(folder, ["csr", "onnx", "c"], measure=False)
            made[spec, sparsity] = folder
        return made[spec, sparsity]

    return make


@pytest.fixture
def tiny(exported):
    """A small exported agent."""
    return exported(TINY, 0.8)
