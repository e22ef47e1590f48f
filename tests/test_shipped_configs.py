"""Every config under configs/: valid, the paper's, named after what it holds, with comments that run."""

import json
import shlex
from pathlib import Path

import click
import pytest

from mast_edge.cli import cli
from mast_edge.config import METHOD_PRESETS, ExperimentConfig, dump_yaml, load_config, run_name
from mast_edge.config_files import variant_names

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs"
QUICK = CONFIGS / "quick.yaml"
TASKS = sorted(path for path in CONFIGS.glob("*.yaml") if path != QUICK)
PAPER = sorted((CONFIGS / "paper").glob("*.yaml"))
EVERY: list[tuple[Path, str | None]] = [
    (path, name) for path in [*TASKS, *PAPER] for name in [*variant_names(path)] or [None]
]
MAPS = ("3m", "2s3z", "3s5z", "2c_vs_64zg")
ALGORITHMS = ("qmix", "ow_qmix", "res")


def load(file: Path | str, variant: str | None = None, *overrides: str) -> ExperimentConfig:
    return load_config(CONFIGS / file, overrides, {}, variant=variant)


def paper(name: str) -> dict[str, ExperimentConfig]:
    file = CONFIGS / "paper" / f"{name}.yaml"
    return {variant: load(file, variant) for variant in variant_names(file)}


def names(configs: dict[str, ExperimentConfig]) -> set[str]:
    return {run_name(cfg) for cfg in configs.values()}


TABLE1 = {
    (algorithm, map_name, method): load(f"{algorithm}_{map_name}.yaml", None, f"method={method}")
    for algorithm in ALGORITHMS
    for map_name in MAPS
    for method in METHOD_PRESETS
}


def test_the_files_that_there_are() -> None:
    table1 = {f"{algorithm}_{map_name}" for algorithm in ALGORITHMS for map_name in MAPS}
    assert {path.stem for path in TASKS} == table1 | {"qmix_5m_vs_6m", "qmix_8m", "demo_3m"}
    figures = {f"fig{n}" for n in range(4, 10)}
    tables = {f"table{n}" for n in (1, 2, 3, 8)}
    assert {path.stem for path in PAPER} == figures | tables | {"structured", "control"}


@pytest.mark.parametrize(("path", "variant"), EVERY, ids=lambda part: getattr(part, "stem", part))
def test_each_is_valid_and_survives_its_dump(path: Path, variant: str | None, tmp_path: Path) -> None:
    again = tmp_path / "again.yaml"
    for cfg in (load(path, variant), load_config(path, (), {}, variant=variant, overlays=[QUICK])):
        again.write_text(dump_yaml(cfg), encoding="utf-8")
        loaded = load_config(again, environ={})
        assert loaded == cfg
        assert run_name(loaded) == run_name(cfg)


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.stem)
def test_a_file_is_named_after_its_algorithm_and_map(path: Path) -> None:
    cfg = load(path)
    assert path.stem.replace("demo", "qmix") == f"{cfg.algorithm}_{cfg.env.map}"
    assert cfg.t_max == (300_000 if path.stem == "demo_3m" else 2_000_000)
    assert (cfg.method, cfg.seed) == ("mast", 1)


def test_sparsities_are_those_of_table_1() -> None:
    rows = json.loads((ROOT / "tests/data/table1.json").read_text())["table1"]
    assert len(rows) == 12
    for row in rows:
        algorithm = {"WQMIX": "ow_qmix"}.get(row["alg"], row["alg"].lower())
        assert load(f"{algorithm}_{row['map']}.yaml").sparsity == row["sparsity"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("map_name", MAPS)
def test_values_are_those_of_table_5(algorithm: str, map_name: str) -> None:
    cfg = load(f"{algorithm}_{map_name}.yaml")
    widths = cfg.network
    assert (widths.hidden_dim, widths.mixer_embed_dim, widths.hypernet_dim) == (64, 32, 64)
    assert (cfg.gamma, cfg.exploration.start, cfg.exploration.end) == (0.99, 1.0, 0.05)
    assert (cfg.target.update_interval, cfg.topology.interval, cfg.topology.drop_fraction) == (200, 200, 0.5)
    replay = cfg.replay
    assert (replay.batch_size, replay.online_share, replay.batch_size - replay.online_share) == (32, 12, 20)
    assert (replay.capacity, replay.online_capacity) == (5000, 128)
    assert (cfg.target.start, cfg.target.alpha, cfg.target.omega) == (750_000, 1.0, 10.0)
    own = (cfg.exploration.anneal_steps, cfg.target.lambda_)
    assert own == ((100_000, 0.6) if algorithm == "ow_qmix" else (50_000, 0.8))
    if algorithm == "ow_qmix":
        assert (cfg.ow_qmix.alpha, widths.central_dim) == (0.1, 256)
    if algorithm == "res":
        assert (cfg.res.penalty, cfg.target.beta, cfg.target.operator) == (0.05, 5.0, "joint_softmax")
    else:
        assert cfg.target.operator == "soft_mellowmax"


def test_the_quick_overlay_shortens_every_schedule() -> None:
    cfg = load_config(CONFIGS / "qmix_3m.yaml", (), {}, overlays=[QUICK])
    assert (cfg.t_max, cfg.exploration.anneal_steps, cfg.target.start) == (500_000, 12_500, 187_500)
    assert (cfg.replay.capacity, cfg.replay.online_capacity, cfg.evaluation.interval) == (1250, 32, 2500)
    control = load_config(CONFIGS / "paper/control.yaml", (), {}, variant="qmix-3m", overlays=[QUICK])
    assert control.target == cfg.target


@pytest.mark.parametrize(
    ("preset", "runs"),
    [
        *(("table2", 56), ("table3", 56), ("table8", 32), ("fig4", 12), ("fig5", 4), ("fig6", 8)),
        *(("fig7", 120), ("fig9", 12), ("structured", 32)),
    ],
)
def test_presets_need_as_many_more_runs_as_the_plan_says(preset: str, runs: int) -> None:
    """algorithms.md 10, column "runs": those of 4 seeds that are no runs of Table 1 (nor, fig8, of fig5)."""
    known = {run_name(cfg) for cfg in TABLE1.values()}
    assert 4 * len(names(paper(preset)) - known) == runs
    assert 4 * len(names(paper("fig8")) - known - names(paper("fig5"))) == 8


def test_table_1_holds_the_runs_of_the_twelve_configs() -> None:
    assert {name: run_name(cfg) for name, cfg in paper("table1").items()} == {
        f"{algorithm}-{map_name}": run_name(TABLE1[algorithm, map_name, "mast"])
        for algorithm in ALGORITHMS
        for map_name in MAPS
    }


def test_table_2() -> None:
    found = {name: (cfg.target.start, cfg.target.lambda_) for name, cfg in paper("table2").items()}
    for algorithm, own in (("qmix", 0.8), ("ow_qmix", 0.6)):
        for steps in (0, 750_000, 1_500_000):
            assert found.pop(f"{algorithm}-t0-{steps // 1000}{'k' if steps else ''}") == (steps, own)
        assert found.pop(f"{algorithm}-t0-2000k") == found.pop(f"{algorithm}-lambda-0") == (2_000_000, 0.0)
        for lambda_ in (0.2, 0.4, 0.6, 0.8, 1):
            assert found.pop(f"{algorithm}-lambda-{lambda_}") == (750_000, lambda_)
    assert found == {}


def test_table_3_and_table_8() -> None:
    table3, table8 = paper("table3"), paper("table8")
    for algorithm in ("qmix", "ow_qmix"):
        for offline, online in ((32, 0), (20, 12), (12, 20), (0, 32)):
            cfg = table3.pop(f"{algorithm}-offline-{offline}-online-{online}")
            assert (cfg.algorithm, cfg.replay.online_share, cfg.replay.batch_size) == (algorithm, online, 32)
        for alpha, omega in ((1, 10), (5, 5), (5, 10), (10, 5), (10, 10)):
            cfg = table3.pop(f"{algorithm}-alpha-{alpha}-omega-{omega}")
            assert (cfg.algorithm, cfg.target.alpha, cfg.target.omega) == (algorithm, alpha, omega)
        for interval in (20, 100, 200, 1000, 2000):
            cfg = table8.pop(f"{algorithm}-interval-{interval}")
            assert (cfg.topology.interval, cfg.target.update_interval) == (interval, 200)
    assert table3 == table8 == {}


@pytest.mark.parametrize("preset", ["table2", "table3", "table8"])
def test_sensitivity_tables_vary_mast_on_the_base_task(preset: str) -> None:
    for name, cfg in paper(preset).items():
        assert name.startswith(f"{cfg.algorithm}-")
        assert (cfg.method, cfg.env.map, cfg.sparsity) == ("mast", "3s5z", 0.9)
        assert cfg.exploration.anneal_steps == (100_000 if cfg.algorithm == "ow_qmix" else 50_000)


def test_figure_4() -> None:
    found = {
        name: (cfg.method, cfg.target.returns, cfg.target.lambda_, cfg.target.start, cfg.target.operator)
        for name, cfg in paper("fig4").items()
    }
    assert found == {
        "rigl-one-step": ("rigl", "one_step", 0.0, 2_000_000, "max_double"),
        "rigl-td-0.8-from-the-start": ("rigl", "td_lambda", 0.8, 0, "max_double"),
        "rigl-hybrid-td-0.8": ("rigl", "td_lambda", 0.8, 750_000, "max_double"),
        "rigl-hybrid-3-step": ("rigl", "n_step", 0.0, 750_000, "max_double"),
    }
    assert paper("fig4")["rigl-hybrid-3-step"].target.n_step == 3


def test_figures_5_6_and_8() -> None:
    fig5 = {name: (cfg.method, cfg.target.operator) for name, cfg in paper("fig5").items()}
    assert fig5 == {
        "dense": ("dense", "max_double"),
        "rigl": ("rigl", "max_double"),
        "rigl-soft-mellowmax": ("rigl", "soft_mellowmax"),
    }
    assert {name: (cfg.method, cfg.replay.online_share) for name, cfg in paper("fig6").items()} == {
        "dense-single-buffer": ("dense", 0),
        "dense-dual-buffers": ("dense", 12),
        "rigl-single-buffer": ("rigl", 0),
        "rigl-dual-buffers": ("rigl", 12),
    }
    assert {name: cfg.target.operator for name, cfg in paper("fig8").items()} == {
        "rigl-max-double": "max_double",
        "rigl-joint-softmax": "joint_softmax",
        "rigl-mellowmax": "mellowmax",
        "rigl-soft-mellowmax": "soft_mellowmax",
    }
    for cfg in paper("fig8").values():
        assert (cfg.method, cfg.target.returns, cfg.replay.online_share) == ("rigl", "one_step", 0)
        assert (cfg.target.beta, cfg.target.omega, cfg.target.alpha) == (5.0, 10.0, 1.0)


def test_figure_7() -> None:
    found = {name: (cfg.method, cfg.sparsity) for name, cfg in paper("fig7").items()}
    assert found == {
        f"{method}-s{percent}": (method, percent / 100)
        for method in ("tiny", "ss", "set", "rigl", "rlx2", "mast")
        for percent in (50, 70, 80, 85, 90, 95)
    }


def test_figure_9_takes_topologies_from_runs_of_table_1() -> None:
    fig9 = paper("fig9")
    assert {name: (cfg.method, cfg.topology.ticket) for name, cfg in fig9.items()} == {
        "dense": ("dense", ""),
        "random": ("mast", "random"),
        "winning-rigl": ("mast", run_name(TABLE1["qmix", "3s5z", "rigl"])),
        "winning-mast": ("mast", run_name(TABLE1["qmix", "3s5z", "mast"])),
        "cheating": ("mast", ""),
    }
    assert [cfg.topology.evolve for cfg in fig9.values()] == [False, False, False, False, True]
    for name in ("random", "winning-rigl", "winning-mast"):
        assert fig9[name].target == fig9["cheating"].target
        assert fig9[name].replay == fig9["cheating"].replay
        assert fig9[name].topology.ticket_init == "fresh"


def test_structured_and_control() -> None:
    structured, control = paper("structured"), paper("control")
    for map_name in MAPS:
        mast, dense = (TABLE1["qmix", map_name, method] for method in ("mast", "dense"))
        for pattern in ("4x1", "8x1"):
            cfg = structured.pop(f"qmix-{map_name}-{pattern}")
            assert (cfg.topology.pattern, cfg.sparsity) == (pattern, mast.sparsity)
            assert (cfg.env, cfg.target, cfg.replay) == (mast.env, mast.target, mast.replay)
        cfg = control.pop(f"qmix-{map_name}")
        assert (cfg.method, cfg.sparsity, cfg.env) == ("dense", 0.0, dense.env)
        assert (cfg.target, cfg.replay) == (mast.target, mast.replay)
    assert structured == control == {}


@pytest.mark.parametrize("path", [QUICK, *TASKS, *PAPER], ids=lambda path: path.stem)
def test_comments_show_commands_that_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file begins with a comment; its commands parse, and the configs that they name load."""
    monkeypatch.chdir(ROOT)
    lines = path.read_text().splitlines()
    head = lines[: next(at for at, line in enumerate(lines) if not line.startswith("#"))]
    found = [line[4:].split("    ")[0].strip() for line in head if line.startswith("#   mast-edge ")]
    assert found
    assert any(str(path.relative_to(ROOT)) in line for line in found)
    for line in found:
        words = shlex.split(line)[1:]
        command: click.Command = cli
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        given = command.make_context("mast-edge", words).params
        configs = given.get("paths") or given.get("configs") or [given.get("config") or given.get("path")]
        for config in configs if "overrides" in given else ():  # `play` names no config
            variants = [given["variant"]] if given["variant"] else [*variant_names(config)] or [None]
            assert len(variants) == 1 or command.name in ("check", "account"), line
            for variant in variants:
                load_config(config, given["overrides"], {}, variant=variant, overlays=given["overlays"])
