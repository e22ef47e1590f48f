"""Configs: defaults, derived values, precedence, identity, and every kind of mistake with its place."""

import json
from pathlib import Path

import pytest

from mast_edge.config import (
    ALGORITHM_PRESETS,
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
from mast_edge.registry import ALGORITHMS, SPARSE_METHODS

TASK = "env:\n  map: 3m\n"
SMAC_GAMES = {
    **{"python": "", "launch_timeout": 120.0, "step_timeout": 30.0},
    **{"restart_limit": 10, "backoff": 1.0, "evaluation_games": 1},
}


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
        "env": {"map": "3m", "backend": "skirmish", "profile": "liberty", "options": {}, "smac": SMAC_GAMES},
        "network": {"hidden_dim": 64, "mixer_embed_dim": 32, "hypernet_dim": 64, "central_dim": 256},
        "topology": {
            "evolve": True,
            "growth": "gradient",
            "interval": 200,
            "drop_fraction": 0.5,
            "init_rescale": False,
            "pattern": "element",
            "ticket": "",
            "ticket_init": "fresh",
            "snapshots": (0.0, 0.25, 0.5, 1.0),
        },
        "target": {
            "operator": "soft_mellowmax",
            "alpha": 1.0,
            "omega": 10.0,
            "beta": 5.0,
            "mask_unavailable": True,
            "returns": "td_lambda",
            "lambda": 0.8,
            "n_step": 3,
            "start": 750_000,
            "update_interval": 200,
        },
        "replay": {
            "capacity": 5000,
            "max_steps": 0,
            "online_capacity": 128,
            "batch_size": 32,
            "online_share": 12,
            "dynamic": False,
            "min_capacity": 500,
            "policy_distance": 0.2,
            "check_interval": 10_000,
            "check_episodes": 256,
            "discard": 0.1,
        },
        "optim": {"lr": 5e-4, "alpha": 0.99, "eps": 1e-5, "clip_norm": 10.0},
        "exploration": {"start": 1.0, "end": 0.05, "anneal_steps": 50_000},
        "rollout": {"n_envs": 1, "updates_per_episode": 1},
        "evaluation": {"interval": 10_000, "episodes": 32},
        "checkpoint": {"interval_seconds": 60.0, "keep": 3},
        "ow_qmix": {"alpha": 0.1},
        "res": {"penalty": 0.05},
        "log": {"tensorboard": True, "wandb": ""},
    }


ALGORITHM = {
    #           baseline operator  MAST's operator  lambda  epsilon
    "qmix": ("max_double", "soft_mellowmax", 0.8, 50_000),
    "ow_qmix": ("max_double", "soft_mellowmax", 0.6, 100_000),
    "res": ("joint_softmax", "joint_softmax", 0.8, 50_000),
    "vdn": ("max_double", "soft_mellowmax", 0.8, 50_000),
}
"""The paper's Table 5 and algorithms.md 3.2, 4.2, 4.4; VDN is not in the paper and has QMIX's values."""
METHOD = {
    #        sparsity  evolve growth   returns       T0         online dynamic
    "dense": (0.0, False, None, "one_step", 2_000_000, 0, False),
    "tiny": (0.9, False, None, "one_step", 2_000_000, 0, False),
    "ss": (0.9, False, None, "one_step", 2_000_000, 0, False),
    "set": (0.9, True, "random", "one_step", 2_000_000, 0, False),
    "rigl": (0.9, True, "gradient", "one_step", 2_000_000, 0, False),
    "rlx2": (0.9, True, "gradient", "n_step", 200_000, 0, True),
    "mast": (0.9, True, "gradient", "td_lambda", 750_000, 12, False),
}
"""algorithms.md 8 and 8.2, the paper's Table 5; growth matters only where something evolves."""


@pytest.mark.parametrize("algorithm", ALGORITHM)
@pytest.mark.parametrize("method", METHOD)
def test_what_a_method_means_for_an_algorithm(algorithm: str, method: str) -> None:
    own_operator, mast_operator, lambda_, anneal_steps = ALGORITHM[algorithm]
    sparsity, evolve, growth, returns, start, online, dynamic = METHOD[method]
    cfg = resolve({"env": {"map": "3s5z"}, "algorithm": algorithm, "method": method})
    assert (cfg.sparsity, cfg.topology.evolve) == (sparsity, evolve)
    assert growth is None or cfg.topology.growth == growth
    assert cfg.target.operator == (mast_operator if method == "mast" else own_operator)
    assert (cfg.target.returns, cfg.target.start, cfg.target.n_step) == (returns, start, 3)
    assert cfg.target.lambda_ == (lambda_ if method == "mast" else 0.0)
    assert (cfg.replay.online_share, cfg.replay.dynamic) == (online, dynamic)
    assert (cfg.replay.capacity, cfg.replay.min_capacity, cfg.replay.check_interval) == (5000, 500, 10_000)
    assert cfg.exploration.anneal_steps == anneal_steps


def test_returns_that_a_file_asks_for_bring_their_lambda_and_t0() -> None:
    """As Figure 4 and the control need them: RigL or dense with MAST's returns, and schedules that scale."""
    quarter = {"env": {"map": "3m"}, "method": "rigl", "t_max": 500_000}
    hybrid = resolve({**quarter, "target": {"returns": "td_lambda"}}).target
    assert (hybrid.lambda_, hybrid.start) == (0.8, 187_500)
    assert resolve({**quarter, "target": {"returns": "n_step"}}).target.start == 187_500
    assert resolve({**quarter, "target": {"returns": "td_lambda", "start": 0}}).target.start == 0
    rlx2 = resolve({**quarter, "method": "rlx2", "target": {"returns": "td_lambda"}}).target
    assert (rlx2.lambda_, rlx2.start) == (0.8, 50_000)


def test_every_schedule_follows_t_max() -> None:
    cfg = resolve({"env": {"map": "3m"}, "t_max": 300_000})
    assert cfg.exploration.anneal_steps == 7500
    assert cfg.target.start == 112_500
    assert cfg.replay.capacity == 750
    assert cfg.replay.online_capacity == 32
    assert (cfg.replay.min_capacity, cfg.replay.check_interval) == (75, 1500)
    assert cfg.evaluation.interval == 1500
    tiny = resolve({"env": {"map": "3m"}, "t_max": 10, "replay": {"batch_size": 8}})
    assert (tiny.replay.capacity, tiny.replay.online_capacity, tiny.replay.online_share) == (40, 8, 3)
    assert (tiny.exploration.anneal_steps, tiny.evaluation.interval) == (1, 1000)
    assert (tiny.replay.min_capacity, tiny.replay.check_interval) == (8, 1)
    assert resolve({"env": {"map": "3m"}, "replay": {"capacity": 1000}}).replay.min_capacity == 100


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
    assert set(METHOD_PRESETS) == set(SPARSE_METHODS) == set(METHOD)
    assert set(ALGORITHM_PRESETS) < set(ALGORITHMS) == set(ALGORITHM)


def test_the_least_capacity_matters_only_where_capacity_is_dynamic() -> None:
    for least in (8, 6000):
        assert resolve({"env": {"map": "3m"}, "replay": {"min_capacity": least}}).replay.min_capacity == least


def test_a_ticket_named_after_a_method_is_the_run_that_these_values_make_with_it() -> None:
    common = {"env": {"map": "3m"}, "seed": 3}
    evolving = {"topology": {"pattern": "8x1"}, "optim": {"lr": 1e-3}}
    for method in ("mast", "rigl", "ss"):
        source = resolve({**common, **evolving, "method": method})
        ticket = {"pattern": "8x1", "ticket": method, "ticket_init": "original"}
        cfg = resolve({**common, **evolving, "topology": ticket})
        assert cfg.topology.ticket == run_name(source)
        assert (cfg.method, cfg.topology.evolve, cfg.topology.ticket_init) == ("mast", False, "original")
        assert run_name(cfg) != run_name(source)
        thawed = resolve({**common, **evolving, "topology": {**ticket, "evolve": True}})
        assert (thawed.topology.ticket, thawed.topology.evolve) == (run_name(source), True)
    for name in ("random", "qmix-3m-mast-s90-seed1-01234567", "runs/mine"):
        assert resolve({**common, "topology": {"ticket": name}}).topology.ticket == name


def test_a_ticket_survives_its_own_dump(tmp_path: Path, file: Path) -> None:
    cfg = load_config(file, ["topology.ticket=rigl"], {})
    again = tmp_path / "again.yaml"
    again.write_text(dump_yaml(cfg))
    assert load_config(again, environ={}) == cfg
    assert cfg.origins["topology", "ticket"] == "--set topology.ticket"


def test_a_ticket_whose_own_run_could_not_be_says_why(file: Path) -> None:
    file.write_text(TASK + "target: {lambda: 0.5}\ntopology:\n  ticket: rigl\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file, environ={})
    message = str(caught.value)
    assert message.startswith(f"{file}:5: topology.ticket must be a method with which")
    assert f"With it: {file}:3: target.lambda must be 0 where target.returns is one_step; got 0.5." in message


def test_patterns_by_word_and_by_name(file: Path) -> None:
    def pattern(*overrides: str) -> object:
        return load_config(file, overrides, {}).topology.pattern

    assert pattern("topology.pattern=8x1") == "8x1"
    assert pattern("topology.pattern.fc1=element") == {"fc1": "element"}
    assert pattern("topology.pattern.mixer.V.0=4x1") == {"mixer.V.0": "4x1"}
    assert pattern("topology.pattern={cmixer.net.6: 8x1, agent: 4x1}") == {
        "cmixer.net.6": "8x1",
        "agent": "4x1",
    }
    # One word is the agent's, so a layer laid over it leaves the rest of the agent as it is.
    assert pattern("topology.pattern=8x1", "topology.pattern.fc1=element") == {
        "agent": "8x1",
        "fc1": "element",
    }
    assert pattern("topology.pattern.fc1=element", "topology.pattern=8x1") == "8x1"


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
    assert cfg.origins["optim", "lr"] == "--set optim"
    assert cfg.origins["optim", "clip_norm"] == "default"
    assert load_config(file, ["target.start=5", "target.start=null"], {}).target.start == 750_000


def test_a_dump_loads_again_as_the_same_config(tmp_path: Path, file: Path) -> None:
    nasty = [
        "env.options.a='yes'",
        "env.options.b='x\ty é \"q\" # no'",
        "env.options.c='0123'",
        "env.options.d=1.5",
    ]
    for path, overrides in [
        (file, nasty),
        (file, ["topology.pattern={agent: 8x1, mixer.V.0: 4x1}"]),
        (file, []),
    ]:
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
    # Where an interpreter lies and how long one waits for a game makes no other experiment.
    assert config_sha256(load_config(file, ["env.smac.step_timeout=5"], {})) == base
    assert load_config(file, ["env.smac.step_timeout=5"], {}).env.smac.step_timeout == 5.0
    assert config_sha256(load_config(file, ["log={tensorboard: false, wandb: mine}"], {})) == base
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
    (
        "method: mats",
        3,
        "method must be one of dense, tiny, ss, set, rigl, rlx2, mast; got 'mats'.",
        "Did you mean 'mast'?",
    ),
    (
        "algorithm: wqmix",
        3,
        "algorithm must be one of qmix, ow_qmix, res, vdn; got 'wqmix'",
        "Did you mean 'qmix'?",
    ),
    (
        "target:\n  operator: mean",
        4,
        "target.operator must be one of joint_softmax, max, max_double, mellowmax, soft_mellowmax, softmax;",
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
    (
        "method: rigl\ntarget: {lambda: 0.8}",
        4,
        "target.lambda must be 0 where target.returns is one_step; got 0.8.",
        "Set target.returns=td_lambda.",
    ),
    (
        "algorithm: ow_qmix\ntarget:\n  operator: joint_softmax",
        5,
        "target.operator must be an operator on one agent's values where algorithm is ow_qmix; got",
        "Take soft_mellowmax or max_double.",
    ),
    ("target: {returns: td}", 3, "target.returns must be one of n_step, one_step, td_lambda; got 'td'", ""),
    (
        "method: rlx2\nreplay: {min_capacity: 6000}",
        4,
        "replay.min_capacity must be at most replay.capacity (5000); got 6000",
        "",
    ),
    (
        "replay:\n  dynamic: true\n  min_capacity: 31",
        5,
        "replay.min_capacity must be at least replay.batch_size (32); got 31",
        "",
    ),
    (
        "topology: {pattern: 2x1}",
        3,
        "topology.pattern must be one of 4x1, 8x1, element, or a mapping,",
        "'2x1'",
    ),
    ("topology:\n  pattern: [8x1]", 4, "each entry one of 4x1, 8x1, element; got a list.", ""),
    (
        "topology:\n  pattern:\n    agent: 8x1\n    fc1: 2x1",
        6,
        "topology.pattern.fc1 must be one of 4x1, 8x1, element; got '2x1'.",
        "",
    ),
    (
        "topology:\n  pattern:\n    fc3: 8x1",
        5,
        "topology.pattern.fc3 must be a network (agent, mixer, cagent, cmixer), a layer of the agent (fc1, ",
        "Did you mean 'fc2'?",
    ),
    (
        "topology:\n  pattern: {cmixer.net.5: 8x1}",
        4,
        "or of a network (cmixer.net.0, cmixer.net.2, cmixer.net.4, cmixer.net.6, cmixer.V.0, cmixer.V.2);",
        "Did you mean 'cmixer.net.",
    ),
    ("topology: {pattern: {V.0: 8x1}}", 3, "(mixer.hyper_w_1.0, ", "Did you mean 'mixer.V.0'?"),
    (
        "topology: {snapshots: 0.5}",
        3,
        "topology.snapshots must be a list, each entry a number >= 0 and <= 1",
        "",
    ),
    (
        "topology:\n  snapshots:\n    - 0\n    - 2",
        6,
        "topology.snapshots.1 must be a number >= 0 and <= 1; got 2.",
        "",
    ),
    (
        "topology:\n  snapshots: [0, 0.5,\n    0.5]",
        5,
        "topology.snapshots.2 must be greater than the share before it (0.5); got 0.5.",
        "",
    ),
    (
        "method: dense\ntopology: {ticket: random}",
        4,
        "topology.ticket must be empty where method is dense, which has no masks; got 'random'.",
        "Take one of the methods ss, set, rigl, rlx2, mast.",
    ),
    (
        "topology: {ticket: tiny}",
        3,
        "topology.ticket must be random, a method with masks (ss, set, rigl, rlx2, mast) or a finished run;",
        "'tiny'",
    ),
    (
        "topology: {ticket: random, ticket_init: original}",
        3,
        "topology.ticket_init must be fresh where topology.ticket names no run; got 'original'.",
        "Name a method or a finished run there.",
    ),
    ("log: {wandb: " + 129 * "x" + "}", 3, "log.wandb must be text of at most 128 characters; got", ""),
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
        ("env: {map: 3m, backend: smac2}\n", "env.backend must be one of skirmish, smac; got 'smac2'"),
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


def test_the_schema_names_every_key_and_requires_none() -> None:
    """A base, or a file laid over, may hold what a file leaves out."""
    schema = json.loads(json.dumps(json_schema()))
    definitions = schema["$defs"]
    assert definitions["Replay"]["properties"]["capacity"]["anyOf"][1] == {"type": "null"}
    assert set(definitions["Target"]["properties"]) == set(to_dict(resolve({"env": {"map": "3m"}}))["target"])
    top, variant = definitions["ExperimentConfig"], definitions["Variant"]["anyOf"][0]
    assert set(top["properties"]) - set(variant["properties"]) == {"variants"}
    assert set(variant["properties"]) - set(to_dict(resolve({"env": {"map": "3m"}}))) == {"base"}
    assert [entry["required"] for entry in definitions.values() if entry.get("required")] == []
    assert top["additionalProperties"] is variant["additionalProperties"] is False
