"""Config files over one another: bases, variants, files laid over, and where every value was written."""

import os
from pathlib import Path
from typing import Any

import pytest

from mast_edge.config import ExperimentConfig, load_config, run_name
from mast_edge.config_files import MAX_BASES, read_layers, variant_names
from mast_edge.errors import ConfigError, MissingInput


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, text: str) -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return name


def load(name: str, *overrides: str, **chosen: Any) -> ExperimentConfig:
    return load_config(name, overrides, {}, **chosen)


def refused(name: str, **chosen: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(name, **chosen)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_file_lies_over_its_base_section_by_section() -> None:
    write("base.yaml", "env:\n  map: 3m\n  smac: {backoff: 2}\noptim:\n  lr: 1e-3\n  eps: 1e-6\nseed: 5\n")
    write("run/a.yaml", "base: ../base.yaml\noptim: {lr: 2e-3}\nenv: {smac: {step_timeout: 9}}\ngamma: 0.9\n")
    cfg = load("run/a.yaml")
    assert (cfg.optim.lr, cfg.optim.eps, cfg.optim.alpha) == (2e-3, 1e-6, 0.99)
    assert (cfg.env.map, cfg.env.smac.backoff, cfg.env.smac.step_timeout) == ("3m", 2.0, 9.0)
    assert {key: cfg.origins[key] for key in cfg.origins if key[0] in ("optim", "seed", "gamma", "env")} == {
        ("env", "map"): "base.yaml:2",
        ("env", "backend"): "default",
        ("env", "profile"): "default",
        ("env", "options"): "default",
        ("env", "smac", "python"): "default",
        ("env", "smac", "launch_timeout"): "default",
        ("env", "smac", "step_timeout"): "run/a.yaml:3",
        ("env", "smac", "restart_limit"): "default",
        ("env", "smac", "backoff"): "base.yaml:3",
        ("env", "smac", "evaluation_games"): "default",
        ("optim", "lr"): "run/a.yaml:2",
        ("optim", "eps"): "base.yaml:6",
        ("optim", "alpha"): "default",
        ("optim", "clip_norm"): "default",
        ("seed",): "base.yaml:7",
        ("gamma",): "run/a.yaml:4",
    }


def test_free_mappings_merge_key_by_key_and_a_word_replaces() -> None:
    write(
        "base.yaml",
        "env: {map: 3m, options: {a: 1, b: 2}}\ntopology: {pattern: {fc1: 4x1, mixer.V.0: 8x1}}\n",
    )
    write("a.yaml", "base: base.yaml\nenv: {options: {b: 3, c: 4}}\ntopology: {pattern: {fc1: element}}\n")
    layers = read_layers("a.yaml")
    assert layers.values["env"] == {"map": "3m", "options": {"a": 1, "b": 3, "c": 4}}
    assert layers.values["topology"] == {"pattern": {"fc1": "element", "mixer.V.0": "8x1"}}
    assert layers.origins["topology", "pattern", "mixer.V.0"] == "base.yaml:2"
    assert layers.origins["topology", "pattern"] == "a.yaml:3"
    assert layers.origins["topology", "pattern", "fc1"] == "a.yaml:3"
    write("word.yaml", "base: a.yaml\ntopology: {pattern: 8x1}\n")
    assert load("word.yaml").topology.pattern == "8x1"
    assert ("topology", "pattern", "fc1") not in read_layers("word.yaml").origins
    # A word is the agent's; what is named over it is added.
    write("named.yaml", "base: word.yaml\ntopology: {pattern: {gru_hh: element}}\n")
    assert load("named.yaml").topology.pattern == {"agent": "8x1", "gru_hh": "element"}
    assert read_layers("named.yaml").origins["topology", "pattern", "agent"] == "word.yaml:2"


def test_lists_scalars_and_null_replace() -> None:
    write("base.yaml", "env: {map: 3m}\ntopology: {snapshots: [0, 0.5]}\ntarget: {start: 5, lambda: 0.1}\n")
    write("a.yaml", "base: base.yaml\ntopology: {snapshots: [1]}\ntarget: {start: null}\n")
    cfg = load("a.yaml")
    assert cfg.topology.snapshots == (1.0,)
    assert (cfg.target.start, cfg.target.lambda_) == (750_000, 0.1)
    assert cfg.origins["target", "start"] == "derived"
    write("reset.yaml", "base: base.yaml\ntarget:\n")
    assert load("reset.yaml").target.lambda_ == 0.8


def test_layers_in_order() -> None:
    """Base, file, variant, files laid over in turn, MAST_EDGE_SET, --set: each wins over those before it."""
    names = ["base", "file", "variant", "one", "two", "environment", "set"]
    held = ["optim.lr", "gamma", "sparsity", "seed", "t_max", "exploration.end", "target.alpha"]

    def values(layer: str) -> str:
        """The keys that this layer and all above it write; the number says which layer wrote it."""
        at = names.index(layer)
        number = {"seed": at + 1, "t_max": at + 1}
        return ";".join(f"{key}={number.get(key, (at + 1) / 100)}" for key in held[at:])

    def yaml(layer: str) -> str:
        return "".join(
            "{}: {}\n".format(*pair.split("="))
            if "." not in pair.split("=")[0]
            else "{}: {{{}: {}}}\n".format(*pair.split("=")[0].split("."), pair.split("=")[1])
            for pair in values(layer).split(";")
        )

    write("base.yaml", "env: {map: 3m}\n" + yaml("base"))
    variant = "".join(f"    {line}\n" for line in yaml("variant").splitlines())
    write("file.yaml", f"base: base.yaml\n{yaml('file')}variants:\n  v:\n{variant}")
    write("one.yaml", yaml("one"))
    write("two.yaml", yaml("two"))
    cfg = load_config(
        "file.yaml",
        values("set").split(";"),
        {"MAST_EDGE_SET": values("environment")},
        variant="v",
        overlays=["one.yaml", Path("two.yaml")],
    )
    found = (
        cfg.optim.lr,
        cfg.gamma,
        cfg.sparsity,
        cfg.seed,
        cfg.t_max,
        cfg.exploration.end,
        cfg.target.alpha,
    )
    assert found == (0.01, 0.02, 0.03, 4, 5, 0.06, 0.07)
    assert [cfg.origins[tuple(key.split("."))] for key in held] == [
        "base.yaml:2",
        "file.yaml:2",
        "file.yaml:10",
        "one.yaml:1",
        "two.yaml:1",
        "MAST_EDGE_SET exploration.end",
        "--set target.alpha",
    ]


def test_a_variant_may_bring_a_base_of_its_own() -> None:
    write("m3.yaml", "env: {map: 3m}\nseed: 3\n")
    write("m8.yaml", "env: {map: 8m}\nseed: 8\ngamma: 0.8\n")
    write(
        "sub/a.yaml",
        "base: ../m3.yaml\noptim: {lr: 1}\nvariants:\n  plain:\n  other: {base: ../m8.yaml, gamma: 0.7}\n"
        "  none: {base: null, env: {map: MMM}}\n",
    )
    assert variant_names("sub/a.yaml") == ["plain", "other", "none"]
    plain, other, none = (load("sub/a.yaml", variant=name) for name in ("plain", "other", "none"))
    assert (plain.env.map, plain.seed, plain.gamma, plain.optim.lr) == ("3m", 3, 0.99, 1.0)
    assert (other.env.map, other.seed, other.gamma, other.optim.lr) == ("8m", 8, 0.7, 1.0)
    assert (none.env.map, none.seed, none.optim.lr) == ("MMM", 1, 1.0)
    assert other.origins["seed",] == "m8.yaml:2"
    assert other.origins["gamma",] == "sub/a.yaml:5"
    assert variant_names("m3.yaml") == []


def test_files_laid_over_may_have_bases_and_no_map() -> None:
    write("a.yaml", "env: {map: 3m}\nt_max: 1000\n")
    write("short.yaml", "t_max: 500\n")
    write("shorter.yaml", "base: short.yaml\nseed: 4\n")
    cfg = load("a.yaml", overlays=["shorter.yaml"])
    assert (cfg.t_max, cfg.seed, cfg.origins["t_max",]) == (500, 4, "short.yaml:1")
    message = refused("short.yaml")
    assert message.startswith("short.yaml: env must be given; got nothing.")
    assert message.endswith("--with short.yaml")
    with pytest.raises(MissingInput, match=r"got 'shrt\.yaml'\. Did you mean 'short\.yaml'"):
        load("a.yaml", overlays=["shrt.yaml"])


def test_a_chain_of_bases_has_an_end() -> None:
    write("0.yaml", "env: {map: 3m}\n")
    for at in range(1, MAX_BASES + 2):
        write(f"{at}.yaml", f"seed: {at}\nbase: {at - 1}.yaml\n")
    assert load(f"{MAX_BASES}.yaml").env.map == "3m"
    assert refused(f"{MAX_BASES + 1}.yaml") == (
        "1.yaml:2: base must be at most the 8th in a row; got '0.yaml'. Shorten the chain."
    )


def test_a_base_that_leads_back_is_refused() -> None:
    write("a.yaml", "base: b.yaml\n")
    write("b.yaml", "seed: 1\nbase: link.yaml\n")
    os.symlink("a.yaml", "link.yaml")
    way = "a.yaml -> b.yaml -> link.yaml"
    assert refused("a.yaml") == (
        f"b.yaml:2: base must not lead back to its own file; got {way}. Cut it somewhere."
    )
    write("c.yaml", "base: ./c.yaml\n")
    assert "got c.yaml -> c.yaml" in refused("c.yaml")
    write("d.yaml", "env: {map: 3m}\nvariants:\n  v: {base: d.yaml}\n")
    assert refused("d.yaml", variant="v").startswith("d.yaml:3: base must not lead back")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "seed: 1\nbase: goal.yaml\n",
            "a.yaml:2: base must be a readable file; got 'goal.yaml' (goal.yaml).",
        ),
        ("base: goad.yaml\n", "Did you mean 'good.yaml'?"),
        ("base: .\n", "a.yaml:1: base must be a readable file; got '.' (.)."),
        ("base: 3\n", "a.yaml:1: base must be the path of a config file; got 3."),
        ("base: ''\n", "a.yaml:1: base must be the path of a config file; got ''."),
        ("base: [good.yaml]\n", "a.yaml:1: base must be the path of a config file; got a list."),
        ("bas: good.yaml\n", "a.yaml:1: bas must be a known key; got 'bas'. Did you mean 'base'?"),
        ("variant: {}\n", "a.yaml:1: variant must be a known key; got 'variant'. Did you mean 'variants'?"),
        ("variants:\n", "a.yaml:1: variants must be a mapping of names to values; got nothing."),
        ("variants: {}\n", "a.yaml:1: variants must be a mapping of names to values; got nothing."),
        ("variants: [v]\n", "a.yaml:1: variants must be a mapping of names to values; got a list."),
        ("variants:\n  v: 3\n", "a.yaml:2: variants.v must be a mapping of keys to values; got 3."),
        (
            "variants:\n  v: {bas: good.yaml}\n",
            "a.yaml:2: bas must be a known key; got 'bas'. Did you mean 'base'?",
        ),
        ("variants:\n  a b: {}\n", "a.yaml:2: variants.a b must be named in at most 64 letters, digits,"),
        ("base: many.yaml\n", "many.yaml:2: variants must stand in the file that is run; got some in one"),
        ("base: broken.yaml\n", "broken.yaml:1: seed must be an integer"),
        ("base: odd.yaml\n", "odd.yaml:2: optim.rl must be a known key"),
        ("base: good.yaml\noptim: {lr: 0}\n", "a.yaml:2: optim.lr must be a number > 0; got 0."),
        ("base: good.yaml\nseed: 3\nseed: 4\n", "a.yaml:3: a key must appear once"),
        ("optim: 3\nbase: partial.yaml\n", "a.yaml:1: optim must be a mapping of keys to values; got 3."),
    ],
)
def test_mistakes_are_located(text: str, says: str) -> None:
    write("good.yaml", "env: {map: 3m}\n")
    write("partial.yaml", "env: {map: 3m}\noptim: {lr: 1}\n")
    write("many.yaml", "env: {map: 3m}\nvariants: {v: {}}\n")
    write("broken.yaml", "seed: x\nenv: {map: 3m}\n")
    write("odd.yaml", "env: {map: 3m}\noptim: {rl: 1}\n")
    write("a.yaml", text)
    chosen = "v" if text.startswith("variants") else None
    assert says in refused("a.yaml", variant=chosen)


def test_variants_are_chosen_by_name() -> None:
    write(
        "a.yaml", "env: {map: 3m}\nvariants:\n  rigl: {method: rigl}\n  wrong: {sead: 1}\n  set: {seed: x}\n"
    )
    assert load("a.yaml", variant="rigl").method == "rigl"
    rule = "a.yaml:2: variant must be one of rigl, wrong, set; got"
    assert refused("a.yaml") == f"{rule} none. Add --variant rigl, or another."
    assert refused("a.yaml", variant="rgl") == f"{rule} 'rgl'. Did you mean 'rigl'?"
    assert refused("a.yaml", variant="zzz") == f"{rule} 'zzz'. Add --variant rigl, or another."
    assert refused("a.yaml", variant="").startswith(rule)
    message = refused("a.yaml", variant="wrong")
    assert message.startswith("a.yaml:4: sead must be a known key; got 'sead'. Did you mean 'seed'?")
    assert refused("a.yaml", variant="set").startswith("a.yaml:5: seed must be an integer")
    write("b.yaml", "env: {map: 3m}\n")
    assert refused("b.yaml", variant="rigl").startswith(
        "b.yaml: variant must be left out where a file holds none"
    )
    assert "variants must stand in the file that is run" in refused("b.yaml", overlays=["a.yaml"])


# the command line


def test_commands_take_variants_and_files_laid_over(call: Any) -> None:
    write("a.yaml", "env: {map: 3m}\nvariants:\n  one: {seed: 1}\n  two: {seed: 2, sparsity: 0.5}\n")
    write("short.yaml", "t_max: 500\n")
    chosen = ("a.yaml", "--variant", "two", "--with", "short.yaml", "--set", "gamma=0.5")
    shown = call("config", "show", *chosen, "--json").json
    assert (shown["config"]["seed"], shown["config"]["t_max"], shown["config"]["gamma"]) == (2, 500, 0.5)
    assert (shown["origins"]["seed"], shown["origins"]["t_max"]) == ("a.yaml:4", "short.yaml:1")
    row = call("account", *chosen, "--json").json["rows"][0]
    assert (row["config"], row["sparsity"]) == ("a.yaml", 0.5)
    checked = call("config", "check", *chosen, "--json").json["files"]
    assert checked == [{"path": "a.yaml", "variant": "two", "run": shown["run"]}]


def test_config_check_checks_all_variants(call: Any) -> None:
    write("a.yaml", "env: {map: 3m}\nvariants:\n  one: {seed: 1}\n  two: {seed: 2}\n")
    write("b.yaml", "env: {map: 3m}\nseed: 7\n")
    answer = call("config", "check", "a.yaml", "b.yaml")
    runs = [run_name(load(*args, variant=name)) for *args, name in (("a.yaml", "one"), ("a.yaml", "two"))]
    assert answer.out.splitlines() == [
        f"a.yaml --variant one: ok, run {runs[0]}",
        f"a.yaml --variant two: ok, run {runs[1]}",
        f"b.yaml: ok, run {run_name(load('b.yaml'))}",
    ]
    write("a.yaml", "env: {map: 3m}\nvariants:\n  one: {seed: 1}\n  two: {seed: -2}\n")
    broken = call("config", "check", "b.yaml", "a.yaml")
    assert (broken.code, broken.out) == (4, "")
    assert "a.yaml:4: seed must be an integer" in broken.err


@pytest.mark.parametrize("command", [("config", "show"), ("train",)])
def test_commands_without_a_needed_variant_list_them_and_write_nothing(
    call: Any, command: tuple[str, ...], tmp_path: Path
) -> None:
    write("a.yaml", "env: {map: 3m}\nvariants: {one: {}, two: {}}\n")
    before = sorted(tmp_path.rglob("*"))
    answer = call(*command, "a.yaml")
    assert (answer.code, answer.out) == (4, "")
    assert "a.yaml:2: variant must be one of one, two; got none." in answer.err
    assert call(*command, "a.yaml", "--variant", "tow").err.rstrip().endswith("Did you mean 'two'?")
    assert sorted(tmp_path.rglob("*")) == before
