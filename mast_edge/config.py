"""Experiment configs: read, completed, checked, hashed, written.

A file says only what differs. Values come from `--set`, then MAST_EDGE_SET, then the file, then the method's
preset (`METHOD_PRESETS`), then the schedule that follows `t_max` (`DERIVED`), then the field defaults.

Source: algorithms.md 8, 11, 14; parity_and_safety.md 7, 9.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import msgspec

from mast_edge import strict_yaml
from mast_edge.config_fields import PAPER_T_MAX, ExperimentConfig
from mast_edge.errors import ConfigError, MissingInput, UsageError
from mast_edge.located import Origins, convert, known_paths, reject, unknown_key
from mast_edge.registry import ALGORITHMS, ENVIRONMENTS, SPARSE_METHODS, nearest
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
        sparse: False forces sparsity 0 and no evolution, whatever the file says.
        start_share: T0 as a share of t_max; 1 = never.
        online_share: share of a batch drawn from the online buffer.
    """

    sparse: bool
    evolve: bool
    growth: str
    operator: str
    lambda_: float
    start_share: float
    online_share: float


METHOD_PRESETS = {
    #                      sparse evolve growth      operator         lambda T0     online
    "dense": MethodPreset(False, False, "gradient", "max_double", 0.0, 1.0, 0.0),
    "mast": MethodPreset(True, True, "gradient", "soft_mellowmax", 0.8, 3 / 8, 12 / 32),
}


@dataclass(frozen=True, slots=True)
class _Basis:
    """The values that derived ones are computed from."""

    t_max: int
    batch_size: int
    preset: MethodPreset


DERIVED: dict[Path, Callable[[_Basis], Any]] = {
    ("sparsity",): lambda b: 0.9 if b.preset.sparse else 0.0,
    ("topology", "evolve"): lambda b: b.preset.evolve,
    ("topology", "growth"): lambda b: b.preset.growth,
    ("target", "operator"): lambda b: b.preset.operator,
    ("target", "lambda"): lambda b: b.preset.lambda_,
    ("target", "start"): lambda b: round(b.preset.start_share * b.t_max),
    ("replay", "capacity"): lambda b: max(5 * b.batch_size, round(5000 * b.t_max / PAPER_T_MAX)),
    ("replay", "online_capacity"): lambda b: max(b.batch_size, round(128 * b.t_max / PAPER_T_MAX)),
    ("replay", "online_share"): lambda b: round(b.preset.online_share * b.batch_size),
    ("exploration", "anneal_steps"): lambda b: max(1, round(50_000 * b.t_max / PAPER_T_MAX)),
    ("evaluation", "interval"): lambda b: max(1000, b.t_max // 200),
}
"""Values that follow others when a file leaves them out or says null (algorithms.md 14: quick schedules)."""

_FORCED_WHEN_DENSE: dict[Path, Any] = {("sparsity",): 0.0, ("topology", "evolve"): False}


def load_config(
    path: str | FilePath, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> ExperimentConfig:
    """Reads, overrides, completes and checks a config file.

    Args:
        path: YAML file, at most 1 MB, UTF-8.
        overrides: `a.b=value` each, values as in YAML; they win over everything.
        environ: where MAST_EDGE_SET is looked up (`a.b=value;c=value`); the process environment when None.

    Returns:
        The config with every value filled in; `origins` tells where each came from.

    Raises:
        MissingInput: there is no such file.
        UsageError: an override is not of the form KEY=VALUE.
        ConfigError: the content is not valid; the message holds file and line, key, rule and nearest key.
    """
    name = str(path)
    document = strict_yaml.load(_read(FilePath(path)), name)
    origins = {at: f"{name}:{line}" for at, line in document.lines.items()}
    values = {} if document.value is None else document.value
    if not isinstance(values, dict):
        raise ConfigError(f"{name}:1: a config must be a mapping of keys to values; got {values!r:.40}.")
    variable = (os.environ if environ is None else environ).get(ENVIRONMENT_VARIABLE, "")
    for text in filter(None, (part.strip() for part in variable.split(";"))):
        _override(values, origins, text, f"{ENVIRONMENT_VARIABLE} {text.split('=')[0]}")
    for text in overrides:
        _override(values, origins, text, f"--set {text.split('=')[0]}")
    return resolve(values, origins, name)


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
    if not basis.preset.sparse:
        for path, value in _FORCED_WHEN_DENSE.items():
            _fill(filled, where, path, value, "method dense", keep=False)
    config = convert(filled, ExperimentConfig, where, source)
    _check_names(config, where, source)
    _check_combinations(config, where, source)
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
    """Hex digest of all values, independent of order and of where they came from."""
    text = json.dumps(to_dict(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def run_name(config: ExperimentConfig) -> str:
    """`qmix-3m-mast-s90-seed1-<8 hex>`: equal configs have equal names; dense runs have no `s` part."""
    sparsity = f"-s{100 * config.sparsity:.6g}" if METHOD_PRESETS[config.method].sparse else ""
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
    """JSON schema of a config file; derived values are optional there."""
    schema = msgspec.json.schema(ExperimentConfig)
    definitions = schema["$defs"]
    for path in DERIVED:
        owner = "ExperimentConfig" if len(path) == 1 else str(path[0]).title()
        definition = definitions[owner]
        entry = definition["properties"].pop(path[-1])
        definition["properties"][path[-1]] = {
            "anyOf": [entry, {"type": "null"}],
            "description": "derived when absent",
        }
        definition["required"] = [name for name in definition.get("required", []) if name != path[-1]]
    top = definitions["ExperimentConfig"]
    top["required"] = ["env"]
    return schema


def _read(path: FilePath) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(strict_yaml.MAX_BYTES + 1)
    except FileNotFoundError as error:
        folder = path.parent
        present = sorted(str(p) for p in folder.glob("*.yaml")) if folder.is_dir() else []
        hint = nearest(str(path), present) or (f" There are: {', '.join(present[:8])}." if present else "")
        raise MissingInput(f"config: file must exist; got '{path}'.{hint}") from error
    except OSError as error:
        raise MissingInput(f"config: file must be readable; got '{path}' ({error.strerror}).") from error


def _override(values: dict[str, Value], origins: dict[Path, str], text: str, origin: str) -> None:
    key, equals, raw = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(
            f"{origin}: an override must be KEY=VALUE; got '{text}'. Write e.g. --set optim.lr=1e-3"
        )
    path: Path = tuple(key.strip().split("."))
    known = known_paths(ExperimentConfig)
    free_form = path[:2] == ("env", "options") and len(path) == 3
    if path not in known and not free_form:
        raise unknown_key(path, known, {path: origin}, origin)
    node: Value = values
    for part in path[:-1]:
        if isinstance(node, dict):
            if node.get(str(part)) is None:
                node[str(part)] = {}
            node = node[str(part)]
    if isinstance(node, dict):
        node[str(path[-1])] = strict_yaml.load(raw.strip(), origin, numbered=False).value
    for known_path in [at for at in origins if at[: len(path)] == path]:
        del origins[known_path]
    origins[path] = origin


def _copied(values: dict[str, Value]) -> dict[str, Value]:
    return {key: dict(value) if isinstance(value, dict) else value for key, value in values.items()}


def _basis(values: Mapping[str, Value]) -> _Basis:
    """What derived values follow; a value of the wrong type is replaced here and refused by its own check."""

    def positive(value: Value, default: int, most: int) -> int:
        good = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most
        return value if good and isinstance(value, int) else default

    replay = values.get("replay")
    method = values.get("method")
    return _Basis(
        t_max=positive(values.get("t_max"), PAPER_T_MAX, 400_000_000),
        batch_size=positive(replay.get("batch_size") if isinstance(replay, dict) else None, 32, 100_000),
        preset=METHOD_PRESETS.get(method, METHOD_PRESETS["mast"])
        if isinstance(method, str)
        else METHOD_PRESETS["mast"],
    )


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


def _check_names(config: ExperimentConfig, origins: Origins, source: str) -> None:
    for path, name, table in (
        (("algorithm",), config.algorithm, ALGORITHMS),
        (("method",), config.method, SPARSE_METHODS),
        (("env", "backend"), config.env.backend, ENVIRONMENTS),
    ):
        if name not in table:
            advice = nearest(name, table).strip()
            raise reject(path, f"one of {', '.join(table)}", name, origins, source, advice)


def _check_combinations(config: ExperimentConfig, origins: Origins, source: str) -> None:
    replay, exploration = config.replay, config.exploration
    at_most: tuple[tuple[str, str, float, str, float], ...] = (
        ("replay", "batch_size", replay.batch_size, "replay.capacity", replay.capacity),
        ("replay", "online_capacity", replay.online_capacity, "replay.capacity", replay.capacity),
        ("replay", "online_share", replay.online_share, "replay.batch_size", replay.batch_size),
        ("replay", "online_share", replay.online_share, "replay.online_capacity", replay.online_capacity),
        ("exploration", "end", exploration.end, "exploration.start", exploration.start),
    )
    for section, key, value, bound_name, bound in at_most:
        if value > bound:
            raise reject((section, key), f"at most {bound_name} ({bound})", value, origins, source)
    if config.env.options.get("heuristic_ai"):
        path, rule = ("env", "options", "heuristic_ai"), "false where agents learn"
        raise reject(path, rule, True, origins, source, "The heuristic would play in their place.")


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
