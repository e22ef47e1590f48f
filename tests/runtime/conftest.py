import pytest

from mast_edge.export import export_run
from tests.agents import MAP_3M, TINY, write_checkpoint


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
