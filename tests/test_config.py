"""Configs: defaults, derived values, precedence, identity, and every kind of mistake with its place."""

import json
from pathlib import Path

import pytest

from mast_edge.config import (
    METHOD_PRESETS,
    config_sha256,
    dump_yaml,
    json_schema,
    load_config,
    resolve,
    run_name,
    to_dict,
)
from mast_edge.errors import ConfigError, MissingInput, UsageError
from mast_edge.registry import SPARSE_METHODS

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
SHIPPED = sorted(CONFIGS.glob("*.yaml"))
TASK = "env:\n  map: 3m\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.yaml"
    path.write_text(TASK)
    return path


def test_defaults_are_the_papers() -> None:
    cfg = resolve({"env": {"map": "3m"}})
    assert to_dict(cfg) == {
        "algorithm": "qmix",
        "method": "mast",
        "seed": 1,
        "t_max": 2_000_000,
        "gamma": 0.99,
        "sparsity": 0.9,
        "timeout_is_terminal": True,
        "env": {"map": "3m", "backend": "skirmish", "profile": "liberty", "options": {}},
        "network": {"hidden_dim": 64, "mixer_embed_dim": 32, "hypernet_dim": 64},
        "topology": {
            "evolve": True,
            "growth": "gradient",
            "interval": 200,
            "drop_fraction": 0.5,
            "init_rescale": False,
        },
        "target": {
            "operator": "soft_mellowmax",
            "alpha": 1.0,
            "omega": 10.0,
            "lambda": 0.8,
            "start": 750_000,
            "update_interval": 200,
        },
        "replay": {"capacity": 5000, "online_capacity": 128, "batch_size": 32, "online_share": 12},
        "optim": {"lr": 5e-4, "alpha": 0.99, "eps": 1e-5, "clip_norm": 10.0},
        "exploration": {"start": 1.0, "end": 0.05, "anneal_steps": 50_000},
        "rollout": {"n_envs": 1, "updates_per_episode": 1},
        "evaluation": {"interval": 10_000, "episodes": 32},
        "checkpoint": {"interval_seconds": 60.0, "keep": 3},
    }


def test_every_schedule_follows_t_max() -> None:
    cfg = resolve({"env": {"map": "3m"}, "t_max": 300_000})
    assert cfg.exploration.anneal_steps == 7500
    assert cfg.target.start == 112_500
    assert cfg.replay.capacity == 750
    assert cfg.replay.online_capacity == 32
    assert cfg.evaluation.interval == 1500
    tiny = resolve({"env": {"map": "3m"}, "t_max": 10, "replay": {"batch_size": 8}})
    assert (tiny.replay.capacity, tiny.replay.online_capacity, tiny.replay.online_share) == (40, 8, 3)
    assert (tiny.exploration.anneal_steps, tiny.evaluation.interval) == (1, 1000)


def test_dense_means_no_masks_one_step_targets_and_one_buffer() -> None:
    cfg = resolve({"env": {"map": "3m"}, "method": "dense", "sparsity": 0.9, "topology": {"evolve": True}})
    assert (cfg.sparsity, cfg.topology.evolve) == (0.0, False)
    assert (cfg.target.operator, cfg.target.lambda_, cfg.target.start) == ("max_double", 0.0, 2_000_000)
    assert cfg.replay.online_share == 0
    assert cfg.origins["sparsity",] == "method dense"


def test_parts_of_a_method_can_be_switched_one_by_one() -> None:
    cfg = resolve(
        {"env": {"map": "3m"}, "topology": {"evolve": False}, "target": {"lambda": 0, "operator": "max"}}
    )
    assert (cfg.topology.evolve, cfg.target.lambda_, cfg.target.operator) == (False, 0.0, "max")
    assert cfg.replay.online_share == 12
    control = resolve({"env": {"map": "3m"}, "method": "dense", "target": {"operator": "soft_mellowmax"}})
    assert control.target.operator == "soft_mellowmax"


def test_every_registered_method_has_a_preset() -> None:
    assert set(METHOD_PRESETS) == set(SPARSE_METHODS)


def test_set_wins_over_environment_wins_over_file(file: Path) -> None:
    file.write_text(TASK + "seed: 1\ngamma: 0.5\noptim: {lr: 1e-3}\n")
    environ = {"MAST_EDGE_SET": "seed=2; gamma=0.6;"}
    cfg = load_config(file, ["seed=3"], environ)
    assert (cfg.seed, cfg.gamma, cfg.optim.lr, cfg.optim.eps) == (3, 0.6, 1e-3, 1e-5)
    assert cfg.origins["seed",] == "--set seed"
    assert cfg.origins["gamma",] == "MAST_EDGE_SET gamma"
    assert cfg.origins["optim", "lr"] == f"{file}:5"
    assert cfg.origins["optim", "eps"] == "default"
    assert cfg.origins["replay", "capacity"] == "derived"


def test_the_process_environment_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAST_EDGE_SET", "seed=9")
    assert load_config(file).seed == 9


def test_overrides_can_set_sections_options_and_null(file: Path) -> None:
    cfg = load_config(file, ["env.options.step_mul=4", "optim={lr: 2e-4, eps: 1e-6}", "target.start=5"], {})
    assert cfg.env.options == {"step_mul": 4}
    assert (cfg.optim.lr, cfg.optim.eps) == (2e-4, 1e-6)
    assert load_config(file, ["target.start=5", "target.start=null"], {}).target.start == 750_000


def test_a_dump_loads_again_as_the_same_config(tmp_path: Path, file: Path) -> None:
    nasty = [
        "env.options.a='yes'",
        "env.options.b='x\ty é \"q\" # no'",
        "env.options.c='0123'",
        "env.options.d=1.5",
    ]
    for path, overrides in [(file, nasty), *((path, []) for path in SHIPPED)]:
        cfg = load_config(path, overrides, {})
        again = tmp_path / "again.yaml"
        again.write_text(dump_yaml(cfg), encoding="utf-8")
        loaded = load_config(again, environ={})
        assert loaded == cfg
        assert to_dict(loaded) == to_dict(cfg)
        assert run_name(loaded) == run_name(cfg)
    assert "lr: 0.0005\n" in dump_yaml(cfg)
    line = path.read_text().splitlines().index(f"  map: {cfg.env.map}") + 1
    assert f'map: "{cfg.env.map}"  # {path}:{line}\n' in dump_yaml(cfg)


def test_the_hash_depends_on_values_only(file: Path) -> None:
    base = config_sha256(load_config(file, environ={}))
    assert config_sha256(load_config(file, ["optim.lr=0.0005", "t_max=2_000_000"], {})) == base
    assert config_sha256(load_config(file, ["seed=2"], {})) != base
    assert config_sha256(load_config(file, ["target.start=750_001"], {})) != base


def test_run_names(file: Path) -> None:
    for overrides, start in (
        ([], "qmix-3m-mast-s90-seed1-"),
        (["sparsity=0.95", "seed=3"], "qmix-3m-mast-s95-seed3-"),
        (["sparsity=0.905"], "qmix-3m-mast-s90.5-seed1-"),
        (["method=dense"], "qmix-3m-dense-seed1-"),
    ):
        cfg = load_config(file, overrides, {})
        assert run_name(cfg) == start + config_sha256(cfg)[:8]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configs_are_valid(path: Path) -> None:
    cfg = load_config(path, environ={})
    assert path.stem.removesuffix("_quick") == f"qmix_{cfg.env.map}"
    assert cfg.t_max == (300_000 if path.stem.endswith("_quick") else 2_000_000)


def test_shipped_configs() -> None:
    names = ["qmix_3m", "qmix_3m_quick", "qmix_3s5z", "qmix_5m_vs_6m", "qmix_8m"]
    assert [path.stem for path in SHIPPED] == names
    assert load_config(CONFIGS / "qmix_3m.yaml", environ={}).sparsity == 0.95
    assert load_config(CONFIGS / "qmix_3s5z.yaml", environ={}).sparsity == 0.9


MISTAKES = [
    ("lr: 1e-3", 3, "lr must be a known key", "Did you mean 'optim.lr'?"),
    ("replay:\n  batchsize: 3", 4, "replay.batchsize must be a known key", "Did you mean 'batch_size'?"),
    ("reply: {}", 3, "reply must be a known key", "Did you mean 'replay'?"),
    ("topology: {evolv: true}", 3, "topology.evolv", "Did you mean 'evolve'?"),
    ("zzzzzz: 1", 3, "zzzzzz must be a known key", "Keys of the top level: algorithm, method"),
    ("seed: abc", 3, "seed must be an integer >= 0 and <= 4294967295; got 'abc'", ""),
    ("seed: 1.5", 3, "seed must be an integer", "got 1.5"),
    ("seed: -1", 3, "seed must be an integer >= 0", "got -1"),
    ("seed: true", 3, "seed must be an integer", "got true"),
    ("seed: null", 3, "seed must be an integer", "got nothing"),
    ("optim:\n  lr: fast", 4, "optim.lr must be a number > 0; got 'fast'", ""),
    ("optim:\n  lr: 0", 4, "optim.lr must be a number > 0; got 0", ""),
    ("optim:\n  alpha: 1", 4, "optim.alpha must be a number >= 0 and < 1; got 1", ""),
    ("gamma: 1.01", 3, "gamma must be a number >= 0 and <= 1; got 1.01", ""),
    ("sparsity: 1", 3, "sparsity must be a number >= 0 and < 1; got 1", ""),
    ("sparsity: -0.1", 3, "sparsity must be a number >= 0 and < 1; got -0.1", ""),
    ("t_max: 0", 3, "t_max must be an integer >= 1", "got 0"),
    ("timeout_is_terminal: yes", 3, "timeout_is_terminal must be true or false; got 'yes'", ""),
    ("optim: 3", 3, "optim must be a mapping of keys to values; got 3", ""),
    ("optim: [1]", 3, "optim must be a mapping of keys to values; got a list", ""),
    ("method: mats", 3, "method must be one of dense, mast; got 'mats'.", "Did you mean 'mast'?"),
    ("algorithm: vdn", 3, "algorithm must be one of qmix; got 'vdn'", ""),
    (
        "target:\n  operator: mean",
        4,
        "target.operator must be one of max, max_double, soft_mellowmax; got 'mean'",
        "",
    ),
    ("target: {lambda: 1.5}", 3, "target.lambda must be a number >= 0 and <= 1; got 1.5", ""),
    ("target: {lambda_: 0.5}", 3, "target.lambda_ must be a known key", "Did you mean 'lambda'?"),
    ("replay:\n  capacity: 8", 4, "", ""),
    (
        "replay: {batch_size: 64, capacity: 50}",
        3,
        "replay.batch_size must be at most replay.capacity (50); got 64",
        "",
    ),
    (
        "replay: {online_share: 33}",
        3,
        "replay.online_share must be at most replay.batch_size (32); got 33",
        "",
    ),
    (
        "replay: {online_capacity: 8}",
        3,
        "replay.online_capacity (8); got 12",
        "",
    ),
    (
        "exploration: {end: 0.5, start: 0.1}",
        3,
        "exploration.end must be at most exploration.start (0.1); got 0.5",
        "",
    ),
    (
        "  options: {heuristic_ai: true}",
        3,
        "env.options.heuristic_ai must be false where agents learn; got true.",
        "The heuristic would play in their place.",
    ),
    ("seed: 1\nseed: 2", 4, "'seed' again, first on line 3", ""),
    ("seed: 01", 3, "leading zeros", ""),
    ("gamma: .nan", 3, "finite", ""),
    ("seed: *x", 3, "anchor or alias", ""),
    ("seed: [1", None, "valid YAML", ""),
]


@pytest.mark.parametrize(("text", "line", "says", "also"), MISTAKES, ids=[m[0][:30] for m in MISTAKES])
def test_mistakes_in_a_file_are_located(
    file: Path, text: str, line: int | None, says: str, also: str
) -> None:
    file.write_text(TASK + text + "\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file, environ={})
    message = str(caught.value)
    assert says in message
    assert also in message
    assert "\n" not in message
    if line is not None and says and "online_capacity (8)" not in says:
        assert message.startswith(f"{file}:{line}: ")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed: 1\n", "a.yaml: env must be given"),
        ("", "a.yaml: env must be given"),
        ("env: {}\n", "a.yaml:1: env.map must be given"),
        ("env: 3m\n", "a.yaml:1: env must be a mapping of keys to values; got '3m'"),
        ("env:\n  map: ../../etc\n", "a.yaml:2: env.map must be text of letters"),
        ("env:\n  map: 3\n", "a.yaml:2: env.map must be text"),
        ("env: {map: 3m, backend: smac2}\n", "env.backend must be one of skirmish; got 'smac2'"),
        ("env: {map: 3m, profile: hots}\n", "env.profile must be one of liberty, void; got 'hots'"),
        (
            "env: {map: 3m, options: {a: [1]}}\n",
            "env.options.a must be true, false, a number or text; got a list",
        ),
        (
            "env: {map: 3m, options: {a: null}}\n",
            "env.options.a must be true, false, a number or text; got nothing",
        ),
        ("- 1\n", "a.yaml:1: a config must be a mapping"),
        ("3\n", "a.yaml:1: a config must be a mapping"),
    ],
)
def test_mistakes_about_the_task(file: Path, text: str, says: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file, environ={})
    assert says in str(caught.value)


def test_mistakes_in_overrides_name_the_override(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--set optim\.lr: optim\.lr must be a number > 0; got 'x'"):
        load_config(file, ["optim.lr=x"], {})
    with pytest.raises(
        ConfigError, match=r"^MAST_EDGE_SET sead: sead must be a known key.*Did you mean 'seed'"
    ):
        load_config(file, [], {"MAST_EDGE_SET": "sead=1"})
    with pytest.raises(ConfigError, match=r"^--set seed: .*leading zeros"):
        load_config(file, ["seed=007"], {})
    with pytest.raises(ConfigError, match=r"^--set seed\.x: seed\.x must be a known key"):
        load_config(file, ["seed.x=007"], {})
    with pytest.raises(UsageError, match="KEY=VALUE"):
        load_config(file, ["seed"], {})
    file.write_text("env: 3\n")
    with pytest.raises(ConfigError, match=r"a\.yaml:1: env must be a mapping"):
        load_config(file, ["env.map=3m"], {})


def test_a_missing_file_suggests_its_neighbour(tmp_path: Path, file: Path) -> None:
    with pytest.raises(MissingInput, match=r"Did you mean '.*a\.yaml'"):
        load_config(tmp_path / "b.yaml")
    with pytest.raises(MissingInput, match="must be readable"):
        load_config(tmp_path)


def test_the_schema_names_every_key_and_leaves_derived_ones_optional() -> None:
    schema = json.loads(json.dumps(json_schema()))
    definitions = schema["$defs"]
    assert definitions["ExperimentConfig"]["required"] == ["env"]
    assert definitions["Env"]["required"] == ["map"]
    assert definitions["Replay"]["required"] == []
    assert definitions["Replay"]["properties"]["capacity"]["anyOf"][1] == {"type": "null"}
    assert set(definitions["Target"]["properties"]) == {
        "operator",
        "alpha",
        "omega",
        "lambda",
        "start",
        "update_interval",
    }
