"""Config files: read, laid over one another, with the place where each value was written.

A file may build on another (`base: OTHER.yaml`, relative to the file) and hold `variants: {NAME: {values}}`,
of which one is chosen; a variant's own `base` takes the place of the file's. Other files can be laid over the
result. Mappings merge key by key; anything else replaces what lies below, and null leaves a value to be
derived.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath

from mast_edge import strict_yaml
from mast_edge.config_fields import ExperimentConfig
from mast_edge.errors import ConfigError, MissingInput, UsageError
from mast_edge.located import Origins, known_paths, reject, unknown_key
from mast_edge.registry import nearest
from mast_edge.strict_yaml import Path, Value

__all__ = ["BASE", "MAX_BASES", "VARIANTS", "Layers", "read_layers", "variant_names"]

BASE, VARIANTS = "base", "variants"
MAX_BASES = 8
PATTERN: Path = ("topology", "pattern")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


@dataclass
class Layers:
    """Values laid over one another.

    Attributes:
        values: nested mappings, as one file would hold them.
        origins: path of a value -> where it was written.
    """

    values: dict[str, Value] = field(default_factory=dict)
    origins: dict[Path, str] = field(default_factory=dict)

    def lay(self, over: Mapping[str, Value], origins: Origins, at: Path = ()) -> None:
        """Lays `over` on the section `at`; `origins` holds the place of each of its values."""
        for key, value in over.items():
            here = (*at, key)
            if here == PATTERN and isinstance(value, dict):
                self._open_pattern()
            if isinstance(value, dict) and isinstance(self._at(here), dict):
                self.origins[here] = origins[here]
                self.lay(value, origins, here)
            else:
                self.put(here, value, origins)

    def put(self, path: Path, value: Value, origins: Origins) -> None:
        """Sets one value in place of all that is there. What is no section is left to its own check."""
        if len(path) > 2 and path[:2] == PATTERN:
            self._open_pattern()
        node = self.values
        for part in path[:-1]:
            section = node.get(str(part))
            if section is None:
                section = node[str(part)] = {}
            if not isinstance(section, dict):
                return
            node = section
        node[str(path[-1])] = value
        for old in [at for at in self.origins if at[: len(path)] == path]:
            del self.origins[old]
        self.origins |= {at: origin for at, origin in origins.items() if at[: len(path)] == path}

    def override(self, text: str, origin: str) -> None:
        """Sets `KEY=VALUE`, the value as in YAML.

        Raises:
            UsageError: not of that form.
            ConfigError: no such key, or a value that is no YAML.
        """
        key, equals, raw = text.partition("=")
        if not equals or not key.strip():
            raise UsageError(
                f"{origin}: an override must be KEY=VALUE; got '{text}'. Write e.g. --set optim.lr=1e-3"
            )
        path: Path = tuple(key.strip().split("."))
        if path[:2] == PATTERN and len(path) > 2:
            path = (*PATTERN, ".".join(map(str, path[2:])))  # layers have dots: mixer.V.0
        known = known_paths(ExperimentConfig)
        free_form = len(path) == 3 and path[:2] in (("env", "options"), PATTERN)
        if path not in known and not free_form:
            raise unknown_key(path, known, {path: origin}, origin)
        document = strict_yaml.load(raw.strip(), origin, numbered=False)
        self.put(path, document.value, {(*path, *at): origin for at in [(), *document.lines]})

    def _open_pattern(self) -> None:
        """One word is the agent's pattern: what is laid over it by name joins `{agent: word}`."""
        topology = self.values.get("topology")
        if isinstance(topology, dict) and isinstance(word := topology.get("pattern"), str):
            topology["pattern"] = {"agent": word}
            self.origins[*PATTERN, "agent"] = self.origins[PATTERN]

    def _at(self, path: Path) -> Value:
        node: Value = self.values
        for part in path:
            node = node.get(str(part)) if isinstance(node, dict) else None
        return node


def read_layers(
    path: str | FilePath, variant: str | None = None, overlays: Iterable[str | FilePath] = ()
) -> Layers:
    """A config file on its bases, with its variant and other files over it.

    Args:
        path: YAML file, at most 1 MB, UTF-8.
        variant: one of its variants; None where it has none.
        overlays: files laid over the result, the last one on top. They may have bases but no variants.

    Raises:
        MissingInput: `path` or an overlay does not exist.
        ConfigError: a file is not valid, a base is missing or leads back, or the variant cannot be chosen.
    """
    layers = Layers()
    file = _File.read(str(path))
    chosen, origins = file.chosen(variant)
    _lay_base(layers, [file.name], *(_base(chosen, origins) if BASE in chosen else file.base))
    layers.lay(_without_base(file.own), file.origins)
    layers.lay(_without_base(chosen), origins)
    for overlay in overlays:
        _lay_file(layers, _File.read(str(overlay)), [])
    return layers


def variant_names(path: str | FilePath) -> list[str]:
    """Names of the variants of a file, as it lists them; none when it holds no variants.

    Raises:
        MissingInput: there is no such file.
        ConfigError: the file is not valid.
    """
    return list(_File.read(str(path)).variants)


@dataclass(frozen=True, slots=True)
class _File:
    """One file as it stands.

    Attributes:
        name: its path.
        values: what it holds.
        origins: path of a value -> `name:line`.
    """

    name: str
    values: dict[str, Value]
    origins: dict[Path, str]

    @classmethod
    def read(cls, name: str) -> "_File":
        document = strict_yaml.load(_content(FilePath(name)), name)
        values = {} if document.value is None else document.value
        if not isinstance(values, dict):
            raise ConfigError(f"{name}:1: a config must be a mapping of keys to values; got {values!r:.40}.")
        file = cls(name, values, {at: f"{name}:{line}" for at, line in document.lines.items()})
        _check_keys(values, file.origins, (BASE, VARIANTS))
        return file

    @property
    def own(self) -> dict[str, Value]:
        """Its values without the variants."""
        return {key: value for key, value in self.values.items() if key != VARIANTS}

    @property
    def base(self) -> tuple[str | None, str]:
        return _base(self.values, self.origins)

    @property
    def variants(self) -> dict[str, dict[str, Value]]:
        """Its variants; one that is written as nothing holds no values."""
        if VARIANTS not in self.values:
            return {}
        found, rule = self.values[VARIANTS], "a mapping of names to values"
        if not isinstance(found, dict) or not found:
            raise reject((VARIANTS,), rule, found or None, self.origins, self.name)
        variants: dict[str, dict[str, Value]] = {}
        for name, entry in found.items():
            at: Path = (VARIANTS, name)
            if not _NAME.match(name):
                spelling = "named in at most 64 letters, digits, '.', '_' and '-'"
                raise reject(at, spelling, name, self.origins, self.name)
            if entry is not None and not isinstance(entry, dict):
                raise reject(at, "a mapping of keys to values", entry, self.origins, self.name)
            variants[name] = entry or {}
        return variants

    def chosen(self, variant: str | None) -> tuple[dict[str, Value], dict[Path, str]]:
        """Values of a variant, and where each was written."""
        variants = self.variants
        if variant is None and not variants:
            return {}, {}
        if not variants:
            raise ConfigError(
                f"{self.name}: variant must be left out where a file holds none; got '{variant}'. "
                "Leave out --variant, or name another file."
            )
        if variant is None or variant not in variants:
            got, hint = (f"'{variant}'", nearest(variant, variants)) if variant else ("none", "")
            advice = hint or f" Add --variant {next(iter(variants))}, or another."
            raise ConfigError(
                f"{self.origins[VARIANTS,]}: variant must be one of {', '.join(variants)}; got {got}.{advice}"
            )
        at: Path = (VARIANTS, variant)
        origins = {key[2:]: origin for key, origin in self.origins.items() if key[:2] == at}
        _check_keys(variants[variant], origins, (BASE,))
        return variants[variant], origins


def _check_keys(values: Mapping[str, Value], origins: Origins, beside: tuple[str, ...]) -> None:
    """Refuses top-level keys that no config has; `beside` are those that only files have."""
    known: dict[Path, object] = {**known_paths(ExperimentConfig), **{(key,): None for key in beside}}
    for key in values:
        if (key,) not in known:
            raise unknown_key((key,), known, origins, "config")


def _base(values: Mapping[str, Value], origins: Origins) -> tuple[str | None, str]:
    """The base that a file or variant names, as written, and where; None when it has none."""
    written = values.get(BASE)
    if written is None:
        return None, ""
    if not isinstance(written, str) or not written:
        raise reject((BASE,), "the path of a config file", written, origins, "config")
    return written, origins[BASE,]


def _without_base(values: Mapping[str, Value]) -> dict[str, Value]:
    return {key: value for key, value in values.items() if key != BASE}


def _lay_file(layers: Layers, file: _File, above: list[str]) -> None:
    """A file that others build on or that is laid over them: its bases first, then its values."""
    if file.variants:
        raise ConfigError(
            f"{file.origins[VARIANTS,]}: {VARIANTS} must stand in the file that is run; got some in one that "
            "others build on or that is laid over them. Name a file without."
        )
    _lay_base(layers, [*above, file.name], *file.base)
    layers.lay(_without_base(file.values), file.origins)


def _lay_base(layers: Layers, above: list[str], written: str | None, origin: str) -> None:
    """The base named in the last of `above`, the files that build on one another so far."""
    if written is None:
        return
    name = os.path.normpath(FilePath(above[-1]).parent / written)
    if os.path.realpath(name) in map(os.path.realpath, above):
        way = " -> ".join([*above, name])
        raise ConfigError(f"{origin}: base must not lead back to its own file; got {way}. Cut it somewhere.")
    if len(above) > MAX_BASES:
        raise ConfigError(
            f"{origin}: base must be at most the {MAX_BASES}th in a row; got '{written}'. Shorten the chain."
        )
    try:
        file = _File.read(name)
    except MissingInput as error:
        hint = nearest(name, _neighbours(FilePath(name)))
        problem = f"{origin}: base must be a readable file; got '{written}' ({name}).{hint}"
        raise ConfigError(problem) from error
    _lay_file(layers, file, above)


def _neighbours(path: FilePath) -> list[str]:
    folder = path.parent
    return sorted(str(p) for p in folder.glob("*.yaml")) if folder.is_dir() else []


def _content(path: FilePath) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(strict_yaml.MAX_BYTES + 1)
    except FileNotFoundError as error:
        present = _neighbours(path)
        hint = nearest(str(path), present) or (f" There are: {', '.join(present[:8])}." if present else "")
        raise MissingInput(f"config: file must exist; got '{path}'.{hint}") from error
    except OSError as error:
        raise MissingInput(f"config: file must be readable; got '{path}' ({error.strerror}).") from error
