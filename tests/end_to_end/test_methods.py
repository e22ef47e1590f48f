"""Every algorithm with every sparse method: trained, exported, played by the runtime as it was trained."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mast_edge.checkpoint_files import AgentCheckpoint, read_agent
from mast_edge.registry import ALGORITHMS, SPARSE_METHODS
from mast_edge.spec import LAYERS
from tests.end_to_end.conftest import REPOSITORY

SETS = ("t_max=2000", "replay.batch_size=8", "topology.interval=10", "target.update_interval=10")
"""About 40 battles and 30 updates; the topology moves after every tenth."""


def _train_export_evaluate(call: Any, runs: Path, algorithm: str, *more: str) -> tuple[AgentCheckpoint, Any]:
    """The three commands as a user gives them; returns the trained agent and the exported layers."""
    named = REPOSITORY / "configs" / f"{algorithm}_3m.yaml"
    config = named if named.exists() else REPOSITORY / "configs" / "qmix_3m.yaml"
    sets = [part for value in (*SETS, f"algorithm={algorithm}", *more) for part in ("--set", value)]
    trained = call("train", str(config), *sets, "--json")
    assert trained.code == 0, trained.err
    assert trained.json["status"] == "complete"
    assert trained.json["updates"] >= 25

    exported = call("export", "--format", "csr", "--json", "--no-measure")
    assert exported.code == 0, exported.err
    (file,) = exported.json["files"]
    assert file["argmax_agreement"] == 1.0
    assert file["max_abs_q_error"] < 1e-4

    judged = call("evaluate", "--runtime", "csr", "--reference", "torch", "--episodes", "20", "--json")
    verdict = judged.json
    assert judged.code in (0, 7), judged.err  # 20 equal battles may be too few to show it
    assert verdict["action_agreement"] == 1.0
    assert verdict["discordant"] == {"lost": 0, "gained": 0}
    assert verdict["max_abs_q_error"] < 1e-4
    checkpoint = max((runs / trained.json["run"] / "checkpoints").iterdir())
    return read_agent(checkpoint), exported.json["layers"]


def test_ow_qmix_with_rlx2(call: Any, tmp_path: Path) -> None:
    agent, layers = _train_export_evaluate(call, tmp_path / "runs", "ow_qmix", "method=rlx2")
    assert set(agent.masks) == set(LAYERS)
    assert {layer["name"]: layer["nnz"] for layer in layers} == {
        k: int(m.sum()) for k, m in agent.masks.items()
    }


def test_res_with_mast_in_blocks(call: Any, tmp_path: Path) -> None:
    """The blocks of the mask are still there after evolution: 8 outputs of a gate by one input."""
    agent, _ = _train_export_evaluate(call, tmp_path / "runs", "res", "method=mast", "topology.pattern=8x1")
    for layer in ("fc1", "gru_ih", "gru_hh"):
        mask = agent.masks[layer]
        blocks = mask.reshape(-1, 8, mask.shape[1])
        assert 0 < blocks.sum() < mask.size
        assert np.array_equal(blocks.any(1), blocks.all(1))


def test_qmix_with_tiny_whose_width_is_odd(call: Any, tmp_path: Path) -> None:
    agent, layers = _train_export_evaluate(call, tmp_path / "runs", "qmix", "method=tiny")
    assert agent.masks == {}
    assert agent.spec.hidden_dim == 13  # fewer than the 5 % of weights that MAST keeps, and biases (3m)
    assert [layer["density"] for layer in layers] == [1.0] * 4


@pytest.mark.slow
@pytest.mark.parametrize("method", SPARSE_METHODS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_with_every_method(call: Any, tmp_path: Path, algorithm: str, method: str) -> None:
    _train_export_evaluate(call, tmp_path / "runs", algorithm, f"method={method}", "t_max=3000")
