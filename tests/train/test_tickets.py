"""Tickets: whose masks a run wears and which weights it begins with (paper section 5.3)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from mast_edge.config import resolve
from mast_edge.config_fields import ExperimentConfig
from mast_edge.errors import ArtifactCorrupt, ConfigError, MissingInput
from mast_edge.runs import find_run, read_manifest
from mast_edge.topology import Topology
from mast_edge.train.loop import train
from mast_edge.train.trainer import Trainer

NETWORK = {"hidden_dim": 16, "mixer_embed_dim": 8, "hypernet_dim": 8}
CPU = torch.device("cpu")


def experiment(**values: Any) -> ExperimentConfig:
    """A run of some seconds whose topology moves at every update."""
    topology = {"interval": 1, **values.pop("topology", {})}
    base = {
        "env": {"map": "3m"},
        "seed": 1,
        "t_max": 300,
        "network": NETWORK,
        "replay": {"batch_size": 2},
        "evaluation": {"interval": 300, "episodes": 1},
        "log": {"tensorboard": False},
    }
    return resolve({**base, **values, "topology": topology})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds a finished MAST run."""
    root = tmp_path_factory.mktemp("runs")
    train(experiment(method="mast"), runs_root=root)
    return root


@pytest.fixture(scope="module")
def name(root: Path) -> str:
    return next(path.name for path in root.iterdir() if path.is_dir())


def final_masks(root: Path, name: str) -> dict[str, Topology]:
    """The masks of a run's last checkpoint, read by hand."""
    arrays, shapes = load_file(find_run(name, root).checkpoint / "state.safetensors"), {}
    for key in arrays:
        if key.startswith("mask."):
            _, network, layer = key.split(".", 2)
            shape = arrays[f"born.{network}.{layer}"].shape
            bits = np.unpackbits(arrays[key])[: shape[0] * shape[1]]
            shapes.setdefault(network, {})[layer] = bits.reshape(shape).astype(bool)
    return shapes


def same(one: dict[str, Topology], other: dict[str, Topology]) -> bool:
    return one.keys() == other.keys() and all(
        one[n].keys() == other[n].keys() and all((one[n][layer] == other[n][layer]).all() for layer in one[n])
        for n in one
    )


def first_weights(config: ExperimentConfig, root: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """All weights of a trainer as new, and which of them its masks keep."""
    learner = Trainer(config, CPU, root).learner
    return learner.online.flat.detach(), learner.mask > 0


def dense_weights(root: Path, seed: int = 1) -> torch.Tensor:
    """What a run of this seed draws before any mask."""
    return first_weights(experiment(method="dense", seed=seed), root)[0]


def test_a_winning_ticket_wears_the_final_masks_and_they_stay(root, name) -> None:
    won = final_masks(root, name)
    first = Trainer(experiment(method="mast"), CPU, root).learner.topologies
    assert not same(won, first)  # the run did evolve
    config = experiment(method="mast", topology={"ticket": name})
    assert config.topology.evolve is False
    assert same(Trainer(config, CPU, root).learner.topologies, won)
    result = train(config, runs_root=root)
    assert result.status == "complete"
    assert result.updates > 3
    assert same(final_masks(root, result.run), won)
    # Everything but the topology is MAST's.
    assert (config.target.operator, config.target.returns) == ("soft_mellowmax", "td_lambda")
    assert config.replay.online_share > 0


def test_a_method_names_the_run_of_this_config(root, name) -> None:
    config = experiment(method="mast", topology={"ticket": "mast"})
    assert config.topology.ticket == name
    assert same(Trainer(config, CPU, root).learner.topologies, final_masks(root, name))


def test_a_run_may_be_named_by_its_folder(root, name) -> None:
    config = experiment(method="mast", topology={"ticket": str(root / name)})
    learner = Trainer(config, CPU, root / "elsewhere").learner
    assert same(learner.topologies, final_masks(root, name))


def test_another_method_may_wear_the_masks(root, name) -> None:
    learner = Trainer(experiment(method="ss", topology={"ticket": name}), CPU, root).learner
    assert same(learner.topologies, final_masks(root, name))


def test_fresh_weights_are_those_of_no_run_and_of_every_ticket_alike(root, name) -> None:
    dense = dense_weights(root)
    won, won_kept = first_weights(experiment(method="mast", topology={"ticket": name}), root)
    random, random_kept = first_weights(experiment(method="mast", topology={"ticket": "random"}), root)
    assert not (won == dense)[won_kept].any()
    both = won_kept & random_kept
    assert both.sum() < won_kept.sum()
    assert torch.equal(won[both], random[both])
    assert not won[~won_kept].any()


def test_original_weights_are_those_the_run_began_with(root, name) -> None:
    """Also where the ticket is another seed's: the weights are the found run's, the rest is one's own."""
    topology = {"ticket": name, "ticket_init": "original"}
    for seed in (1, 2):
        weights, kept = first_weights(experiment(method="mast", seed=seed, topology=topology), root)
        assert torch.equal(weights[kept], dense_weights(root, seed=1)[kept])
    assert not torch.equal(weights[kept], dense_weights(root, seed=2)[kept])
    one, other = (
        first_weights(experiment(method="mast", seed=seed, topology={"ticket": name}), root)[0]
        for seed in (1, 2)
    )
    assert not torch.equal(one, other)


def test_a_random_ticket_needs_no_run_and_stays(tmp_path) -> None:
    config = experiment(method="mast", topology={"ticket": "random"})
    before = {n: dict(t) for n, t in Trainer(config, CPU, tmp_path).learner.topologies.items()}
    result = train(config, runs_root=tmp_path)
    assert same(final_masks(tmp_path, result.run), before)
    other = Trainer(experiment(method="mast", seed=2, topology={"ticket": "random"}), CPU, tmp_path)
    assert not same(other.learner.topologies, before)


def test_a_run_without_a_ticket_begins_as_every_method_does(root) -> None:
    weights, kept = first_weights(experiment(method="mast"), root)
    assert torch.equal(weights[kept], dense_weights(root)[kept])


def refuse(config: ExperimentConfig, root: Path, error: type[Exception], match: str) -> None:
    """Training does not begin, and leaves nothing."""
    before = sorted(path.name for path in root.iterdir())
    with pytest.raises(error, match=match):
        train(config, runs_root=root)
    assert sorted(path.name for path in root.iterdir()) == before


@pytest.mark.parametrize(
    ("values", "got"),
    [
        ({"algorithm": "vdn"}, "vdn on 3m at sparsity 0.9; got"),
        ({"env": {"map": "2s3z"}}, "qmix on 2s3z at sparsity 0.9; got"),
        ({"sparsity": 0.8}, "qmix on 3m at sparsity 0.8; got"),
    ],
    ids=str,
)
def test_masks_of_another_experiment_are_refused(root, name, values, got) -> None:
    config = experiment(method="mast", topology={"ticket": name}, **values)
    refuse(config, root, ConfigError, f"a complete run of {got} {name}, complete, qmix on 3m at 0.9. Choose")


def test_other_widths_are_refused(root, name) -> None:
    config = experiment(method="mast", topology={"ticket": name}, network={**NETWORK, "hidden_dim": 32})
    refuse(config, root, ConfigError, r"masks for agent\.fc1 of \(32, 42\)")
    config = experiment(method="mast", topology={"ticket": name}, network={**NETWORK, "hypernet_dim": 16})
    refuse(config, root, ConfigError, r"masks for mixer\.hyper_w_1\.0 of \(16, 48\)")


def test_masks_that_are_not_made_of_this_configs_blocks_are_refused(root, name) -> None:
    """They could not evolve without changing their number of weights."""
    config = experiment(method="mast", topology={"ticket": name, "pattern": "4x1", "evolve": True})
    refuse(config, root, ConfigError, r"whole 4x1 blocks in agent\.fc1")


def test_masks_of_blocks_may_be_worn_as_single_weights(root, tmp_path) -> None:
    run = train(experiment(method="mast", topology={"pattern": "8x1"}), runs_root=tmp_path).run
    blocks = final_masks(tmp_path, run)
    for pattern in ("8x1", "element"):
        config = experiment(method="mast", topology={"ticket": run, "pattern": pattern})
        assert same(Trainer(config, CPU, tmp_path).learner.topologies, blocks)


def test_a_run_that_is_not_there(root, tmp_path, name) -> None:
    refuse(experiment(method="mast", topology={"ticket": "nowhere"}), tmp_path, MissingInput, "got 'nowhere'")
    refuse(experiment(method="mast", topology={"ticket": name}), tmp_path, MissingInput, f"got '{name}'")
    config = experiment(method="mast", topology={"ticket": "rigl"})
    refuse(config, root, MissingInput, "qmix-3m-rigl-s90-seed1-")


def set_status(run: Path, status: str) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "status": status}))


def test_a_run_that_has_not_finished(tmp_path) -> None:
    run = train(experiment(method="mast"), runs_root=tmp_path).run
    config = experiment(method="mast", topology={"ticket": run})
    for status, seen in (("interrupted", "interrupted"), ("failed", "failed"), ("running", "stopped")):
        set_status(tmp_path / run, status)
        assert read_manifest(tmp_path / run).status == status
        refuse(config, tmp_path, ConfigError, rf"got {run}, {seen}, .* Finish it: mast-edge train .*{run}")
    set_status(tmp_path / run, "complete")
    assert Trainer(config, CPU, tmp_path).learner.topologies


def test_a_run_without_masks(tmp_path) -> None:
    """Tiny has a sparsity but no masks; dense has none of either."""
    values: dict[str, Any] = {"sparsity": 0.5}
    tiny = train(experiment(method="tiny", **values), runs_root=tmp_path).run
    config = experiment(method="mast", topology={"ticket": tiny}, **values)
    refuse(config, tmp_path, ConfigError, f"a run with masks; got {tiny}, method tiny")
    dense = train(experiment(method="dense"), runs_root=tmp_path).run
    refuse(experiment(method="mast", topology={"ticket": dense}), tmp_path, ConfigError, "qmix on 3m at 0")


def test_a_damaged_checkpoint(tmp_path) -> None:
    run = train(experiment(method="mast"), runs_root=tmp_path).run
    path = find_run(run, tmp_path).checkpoint / "state.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    config = experiment(method="mast", topology={"ticket": run})
    refuse(config, tmp_path, ArtifactCorrupt, "SHA-256 must be")
