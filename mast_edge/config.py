"""Experiment configs: read, completed, checked, hashed, written.

A file says only what differs. Values come from `--set`, then MAST_EDGE_SET, then the files laid over it
(`--with`, the last one first), then the variant, then the file, then its base and the base's own base
(`config_files`), then the method's and the algorithm's presets and the schedules that follow `t_max`
(`METHOD_PRESETS`, `ALGORITHM_PRESETS`, `DERIVED`), then the field defaults.

Source: algorithms.md 8, 11, 14; parity_and_safety.md 7, 9.
"""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Literal

import msgspec

from mast_edge import strict_yaml
from mast_edge.config_checks import check
from mast_edge.config_fields import PAPER_T_MAX, ExperimentConfig
from mast_edge.config_files import BASE, VARIANTS, read_layers
from mast_edge.errors import ConfigError
from mast_edge.located import Origins, convert, known_paths, reject
from mast_edge.strict_yaml import Path, Value

__all__ = [
    "DERIVED",
    "METHOD_PRESETS",
    "ExperimentConfig",
    "MethodPreset",
    "config_sha256",
    "dump_yaml",
    "json_schema",
    "load_config",
    "resolve",
    "run_name",
    "to_dict",
]

ENVIRONMENT_VARIABLE = "MAST_EDGE_SET"


@dataclass(frozen=True, slots=True)
class MethodPreset:
    """What a method means where the file is silent (algorithms.md 8; paper, Tables 4 and 5).

    Attributes:
        sparsity: `masks` keep part of the weights, `widths` narrows dense networks to as many parameters,
            `none` forces sparsity 0. Without masks nothing evolves, whatever the file says.
        soft: soft mellowmax in place of the algorithm's own operator, where that looks at one agent.
        start_share: T0 as a share of t_max; 1 = never, unless the file asks for returns that need a T0, which
            then is MAST's (as in Figure 4, where RigL gets hybrid targets).
        online_share: share of a batch drawn from the online buffer.
        dynamic: RLx2's replay capacity.
    """

    sparsity: Literal["none", "widths", "masks"]
    evolve: bool
    growth: Literal["gradient", "random"]
    soft: bool
    returns: Literal["one_step", "n_step", "td_lambda"]
    start_share: float
    online_share: float
    dynamic: bool


METHOD_PRESETS = {
    #                      sparsity  evolve growth      soft   returns      T0     online   dynamic
    "dense": MethodPreset("none", False, "gradient", False, "one_step", 1.0, 0.0, False),
    "tiny": MethodPreset("widths", False, "gradient", False, "one_step", 1.0, 0.0, False),
    "ss": MethodPreset("masks", False, "gradient", False, "one_step", 1.0, 0.0, False),
    "set": MethodPreset("masks", True, "random", False, "one_step", 1.0, 0.0, False),
    "rigl": MethodPreset("masks", True, "gradient", False, "one_step", 1.0, 0.0, False),
    "rlx2": MethodPreset("masks", True, "gradient", False, "n_step", 0.1, 0.0, True),
    "mast": MethodPreset("masks", True, "gradient", True, "td_lambda", 3 / 8, 12 / 32, False),
}
MASKED = [name for name, preset in METHOD_PRESETS.items() if preset.sparsity == "masks"]
"""Methods that mask weights."""


@dataclass(frozen=True, slots=True)
class AlgorithmPreset:
    """What an algorithm means where the file is silent (algorithms.md 3.2, 4.2, 4.4).

    Attributes:
        operator: its own value operator.
        soft_operator: the one it has under MAST.
        lambda_: of TD(lambda).
        anneal_steps: of epsilon, at the paper's t_max.
    """

    operator: str = "max_double"
    soft_operator: str = "soft_mellowmax"
    lambda_: float = 0.8
    anneal_steps: int = 50_000


ALGORITHM_PRESETS = {
    "ow_qmix": AlgorithmPreset(lambda_=0.6, anneal_steps=100_000),
    "res": AlgorithmPreset(operator="joint_softmax", soft_operator="joint_softmax"),
}
"""Algorithms that differ from the defaults of `AlgorithmPreset`."""


@dataclass(frozen=True, slots=True)
class _Basis:
    """The values that derived ones are computed from."""

    t_max: int
    batch_size: int
    capacity: int
    returns: str
    ticket: bool
    preset: MethodPreset
    algorithm: AlgorithmPreset

    def scaled(self, at_papers_t_max: int) -> int:
        """A number of steps or episodes, shortened as t_max is."""
        return round(at_papers_t_max * self.t_max / PAPER_T_MAX)

    @property
    def start(self) -> int:
        """T0."""
        asked_for = self.preset.returns == "one_step" and self.returns != "one_step"
        preset = METHOD_PRESETS["mast"] if asked_for else self.preset
        return round(preset.start_share * self.t_max)

    @property
    def full_capacity(self) -> int:
        """Offline capacity that follows t_max."""
        return max(5 * self.batch_size, self.scaled(5000))


DERIVED: dict[Path, Callable[[_Basis], Any]] = {
    ("sparsity",): lambda b: 0.0 if b.preset.sparsity == "none" else 0.9,
    ("topology", "evolve"): lambda b: b.preset.evolve and not b.ticket,
    ("topology", "growth"): lambda b: b.preset.growth,
    ("target", "operator"): lambda b: b.algorithm.soft_operator if b.preset.soft else b.algorithm.operator,
    ("target", "returns"): lambda b: b.preset.returns,
    ("target", "lambda"): lambda b: b.algorithm.lambda_ if b.returns == "td_lambda" else 0.0,
    ("target", "start"): lambda b: b.start,
    ("replay", "capacity"): lambda b: b.full_capacity,
    ("replay", "online_capacity"): lambda b: max(b.batch_size, b.scaled(128)),
    ("replay", "online_share"): lambda b: round(b.preset.online_share * b.batch_size),
    ("replay", "dynamic"): lambda b: b.preset.dynamic,
    ("replay", "min_capacity"): lambda b: min(b.capacity, max(b.batch_size, b.capacity // 10)),
    ("replay", "check_interval"): lambda b: max(1, b.scaled(10_000)),
    ("exploration", "anneal_steps"): lambda b: max(1, b.scaled(b.algorithm.anneal_steps)),
    ("evaluation", "interval"): lambda b: max(1000, b.t_max // 200),
}
"""Values that follow others when a file leaves them out or says null (algorithms.md 14: quick schedules)."""

_FORCED: dict[str, dict[Path, Any]] = {
    "none": {("sparsity",): 0.0, ("topology", "evolve"): False},
    "widths": {("topology", "evolve"): False},
    "masks": {},
}
"""By `MethodPreset.sparsity`: what holds whatever the file says."""


def load_config(
    path: str | FilePath,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    *,
    variant: str | None = None,
    overlays: Iterable[str | FilePath] = (),
) -> ExperimentConfig:
    """Reads, overrides, completes and checks a config file.

    Args:
        path: YAML file, at most 1 MB, UTF-8.
        overrides: `a.b=value` each, values as in YAML; they win over everything.
        environ: where MAST_EDGE_SET is looked up (`a.b=value;c=value`); the process environment when None.
        variant: which of the file's variants; None where it has none.
        overlays: files laid over the result, the last one on top.

    Returns:
        The config with every value filled in; `origins` tells where each came from.

    Raises:
        MissingInput: there is no such file.
        UsageError: an override is not of the form KEY=VALUE.
        ConfigError: the content is not valid; the message holds file and line, key, rule and nearest key.
    """
    name, layers = str(path), read_layers(path, variant, overlays)
    lines = (os.environ if environ is None else environ).get(ENVIRONMENT_VARIABLE, "")
    for text in filter(None, (part.strip() for part in lines.split(";"))):
        layers.override(text, f"{ENVIRONMENT_VARIABLE} {text.split('=')[0]}")
    for text in overrides:
        layers.override(text, f"--set {text.split('=')[0]}")
    if "env" not in layers.values:
        raise ConfigError(
            f"{name}: env must be given; got nothing. Add `env: {{map: ...}}` or `base: FILE`; "
            f"a file without a map is laid over one that has it: --with {name}"
        )
    return resolve(layers.values, layers.origins, name)


def resolve(
    values: Mapping[str, Value], origins: Origins | None = None, source: str = "config"
) -> ExperimentConfig:
    """Completes and checks plain values.

    Args:
        values: nested mappings as a config file holds them; None or absent where a value may be derived.
        origins: where each value was written, for messages.
        source: name of the whole, for messages about what is missing.

    Raises:
        ConfigError: a key, type, range or combination is not valid.
    """
    filled, where = _copied(dict(values)), dict(origins or {})
    basis = _basis(filled)
    for path, compute in DERIVED.items():
        _fill(filled, where, path, compute(basis), "derived", keep=True)
    for path, value in _FORCED[basis.preset.sparsity].items():
        _fill(filled, where, path, value, f"method {filled.get('method')}", keep=False)
    config = convert(filled, ExperimentConfig, where, source)
    check(config, MASKED, where, source)
    config = _with_named_ticket(config, values, where, source)
    config.__dict__["origins_of_values"] = {
        path: where.get(path, "default")
        for path, kind in known_paths(ExperimentConfig).items()
        if not isinstance(kind, msgspec.inspect.StructType)
    }
    return config


def to_dict(config: ExperimentConfig) -> dict[str, Any]:
    """Nested plain values, keys as in YAML."""
    plain = msgspec.to_builtins(config)
    if not isinstance(plain, dict):
        raise TypeError("a Struct converts to a dict")
    return plain


def config_sha256(config: ExperimentConfig) -> str:
    """Hex digest of all values that decide what is trained, independent of order and of where they came from.

    `env.smac` and `log` are left out: time limits, the place of an interpreter and where metrics go do not
    make another experiment.
    """
    values = to_dict(config)
    del values["env"]["smac"], values["log"]
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def run_name(config: ExperimentConfig) -> str:
    """`qmix-3m-mast-s90-seed1-<8 hex>`: equal configs have equal names; dense runs have no `s` part."""
    sparsity = f"-s{100 * config.sparsity:.6g}" if METHOD_PRESETS[config.method].sparsity != "none" else ""
    return (
        f"{config.algorithm}-{config.env.map}-{config.method}{sparsity}-seed{config.seed}-"
        f"{config_sha256(config)[:8]}"
    )


def dump_yaml(config: ExperimentConfig) -> str:
    """All values as YAML, each with its origin as a comment. Loading it gives an equal config."""
    lines = [f"# config {config_sha256(config)}"]
    for key, value in sorted(to_dict(config).items(), key=lambda item: isinstance(item[1], dict)):
        if not isinstance(value, dict):
            lines.append(_line((key,), value, config, indent=0))
            continue
        lines.append(f"{key}:")
        lines += [_line((key, name), entry, config, indent=2) for name, entry in value.items()]
    return "\n".join(lines) + "\n"


def json_schema() -> dict[str, Any]:
    """JSON schema of a config file. Nothing is required: a base, or a file laid over, may hold the rest."""
    schema = msgspec.json.schema(ExperimentConfig)
    definitions = schema["$defs"]
    for path in DERIVED:
        owner = "ExperimentConfig" if len(path) == 1 else str(path[0]).title()
        entry = definitions[owner]["properties"].pop(path[-1])
        definitions[owner]["properties"][path[-1]] = {
            "anyOf": [entry, {"type": "null"}],
            "description": "derived when absent",
        }
    for definition in definitions.values():
        definition["required"] = []
    top = definitions["ExperimentConfig"]
    base = {"type": "string", "description": "config file that this one builds on, relative to it"}
    variant = {**top, "title": "Variant", "properties": {**top["properties"], BASE: base}}
    definitions["Variant"] = {"anyOf": [variant, {"type": "null"}]}
    variants = {"type": "object", "additionalProperties": {"$ref": "#/$defs/Variant"}, "minProperties": 1}
    top["properties"] = {**variant["properties"], VARIANTS: variants}
    return schema


def _with_named_ticket(
    config: ExperimentConfig, values: Mapping[str, Value], origins: Origins, source: str
) -> ExperimentConfig:
    """A ticket that names a method becomes the name of the run that these values make with that method."""
    method, topology = config.topology.ticket, values.get("topology")
    if method not in MASKED or not isinstance(topology, dict):
        return config
    left_out = ("ticket", "ticket_init", "evolve")
    own = {key: value for key, value in topology.items() if key not in left_out}
    try:
        run = run_name(resolve({**values, "method": method, "topology": own}, origins, source))
    except ConfigError as error:
        rule = "a method with which the rest of this config is valid too, or a finished run"
        raise reject(("topology", "ticket"), rule, method, origins, source, f"With it: {error}") from error
    return msgspec.structs.replace(config, topology=msgspec.structs.replace(config.topology, ticket=run))


def _copied(values: dict[str, Value]) -> dict[str, Value]:
    return {key: dict(value) if isinstance(value, dict) else value for key, value in values.items()}


def _basis(values: Mapping[str, Value]) -> _Basis:
    """What derived values follow; a value of the wrong type is replaced here and refused by its own check."""

    def positive(value: Value, default: int, most: int) -> int:
        good = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most
        return value if good and isinstance(value, int) else default

    def section(name: str) -> dict[str, Value]:
        found = values.get(name)
        return found if isinstance(found, dict) else {}

    method, algorithm = str(values.get("method")), str(values.get("algorithm"))
    preset = METHOD_PRESETS.get(method, METHOD_PRESETS["mast"])
    basis = _Basis(
        t_max=positive(values.get("t_max"), PAPER_T_MAX, 400_000_000),
        batch_size=positive(section("replay").get("batch_size"), 32, 100_000),
        capacity=1,
        returns=str(section("target").get("returns") or preset.returns),
        ticket=bool(section("topology").get("ticket")),
        preset=preset,
        algorithm=ALGORITHM_PRESETS.get(algorithm, AlgorithmPreset()),
    )
    capacity = positive(section("replay").get("capacity"), basis.full_capacity, 1_000_000)
    return dataclasses.replace(basis, capacity=capacity)


def _fill(
    values: dict[str, Value], origins: dict[Path, str], path: Path, value: Any, why: str, *, keep: bool
) -> None:
    """Puts a value where none is (or, without `keep`, over what is there)."""
    node = values
    for part in path[:-1]:
        section = node.setdefault(str(part), {})
        if section is None:
            section = node[str(part)] = {}
        if not isinstance(section, dict):
            return
        node = section
    name = str(path[-1])
    if keep and node.get(name) is not None:
        return
    if not keep and node.get(name) == value:
        return
    node[name] = value
    origins[path] = why


_PLAIN = re.compile(r"(?!(?i:y|n|yes|no|on|off)\Z)[A-Za-z_][A-Za-z0-9_./-]*\Z")
"""Words that need no quotes; those that are booleans to YAML 1.1 readers get some."""


def _line(path: Path, value: object, config: ExperimentConfig, indent: int) -> str:
    name = str(path[-1])
    origin = config.origins.get(path, "")
    remark = "  # " + re.sub(r"[^\x20-\x7e]", "?", origin) if origin not in ("", "default") else ""
    return f"{' ' * indent}{name}: {_yaml(value)}{remark}"


def _yaml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_yaml(key)}: {_yaml(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, str):
        if _PLAIN.match(value) and isinstance(strict_yaml.read_scalar(value, ""), str):
            return value
        return '"' + "".join(_escaped(character) for character in value) + '"'
    return json.dumps(value)


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if " " <= character <= "~" else f"\\U{ord(character):08x}"
