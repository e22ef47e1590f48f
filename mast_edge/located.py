"""Converts plain data to typed structs; messages name the place, the key, the rule and the nearest key."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import inspect as types

from mast_edge.errors import ConfigError
from mast_edge.registry import nearest
from mast_edge.strict_yaml import Path, Value

T = TypeVar("T")
Origins = Mapping[Path, str]
"""Path of a value -> where it was written (`configs/a.yaml:3`, `--set optim.lr`, `default`, ...)."""

_AT = re.compile(r" - at `\$(?P<path>.*)`\Z")
_FIELD = re.compile(r"(?:unknown|required) field `(?P<name>.*)`\Z", re.DOTALL)


def dotted(path: Path) -> str:
    """`("optim", "lr")` as `optim.lr`."""
    return ".".join(str(part) for part in path)


def convert(values: Value, schema: type[T], origins: Origins, source: str) -> T:
    """`values` as a `schema`, checked strictly: no unknown key, no coercion, every range.

    Args:
        values: plain data from the YAML reader.
        schema: a msgspec Struct class.
        origins: where each value comes from.
        source: what to name when a value has no origin of its own (a missing key), usually the file.

    Raises:
        ConfigError: the first value that does not fit.
    """
    try:
        return msgspec.convert(values, schema)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), values, schema, origins, source)) from error


def reject(
    path: Path, rule: str, value: object, origins: Origins, source: str, advice: str = ""
) -> ConfigError:
    """The error for a value that breaks `rule`, located at its origin.

    Args:
        path: the offending key.
        rule: completes "must be ...".
        value: what was found.
        origins: where each value comes from.
        source: named when `path` has no origin.
        advice: what to do, a full sentence, or nothing.
    """
    ending = f" {advice}" if advice else ""
    return ConfigError(
        f"{_origin(path, origins, source)}: {dotted(path)} must be {rule}; got {show(value)}.{ending}"
    )


def show(value: object) -> str:
    """A value as it stands in YAML, shortened."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def unknown_key(path: Path, known: Mapping[Path, object], origins: Origins, source: str) -> ConfigError:
    """The error for a key that no schema field has, with the nearest one that exists.

    Args:
        path: the offending key.
        known: every valid path.
        origins: where each value comes from.
        source: named when `path` has no origin.
    """
    parent, name = path[:-1], str(path[-1])
    siblings = [str(p[-1]) for p in known if p[:-1] == parent]
    elsewhere = [dotted(p) for p in known if str(p[-1]) == name]
    if elsewhere:
        hint = f" Did you mean '{elsewhere[0]}'?"
    else:
        hint = nearest(name, siblings)
        if not hint:
            leaves = {str(p[-1]): dotted(p) for p in known}
            close = nearest(name, list(leaves))
            hint = f" Did you mean '{leaves[close.split(chr(39))[1]]}'?" if close else ""
    section = dotted(parent) or "the top level"
    return ConfigError(
        f"{_origin(path, origins, source)}: {dotted(path)} must be a known key; got '{name}'.{hint} "
        f"Keys of {section}: {', '.join(siblings) or 'none'}."
    )


def known_paths(schema: type[object]) -> dict[Path, types.Type]:
    """Every key path of a Struct class (sections and leaves) -> its type."""
    found: dict[Path, types.Type] = {}

    def walk(kind: types.Type, path: Path) -> None:
        if isinstance(kind, types.StructType):
            for field in kind.fields:
                here = (*path, field.encode_name)
                found[here] = _bare(field.type)
                walk(_bare(field.type), here)

    walk(types.type_info(schema), ())
    return found


def describe(kind: types.Type) -> str:
    """The rule of a type, completing "must be ..."."""
    if isinstance(kind, types.LiteralType):
        return "one of " + ", ".join(map(str, kind.values))
    if isinstance(kind, types.BoolType):
        return "true or false"
    if isinstance(kind, types.IntType | types.FloatType):
        noun = "an integer" if isinstance(kind, types.IntType) else "a number"
        return " ".join([noun, *_bounds(kind)])
    if isinstance(kind, types.StrType):
        longest = "" if kind.max_length is None else f" of at most {kind.max_length} characters"
        return f"text{longest}" if kind.pattern is None else "text of letters, digits, '_' and '-'"
    if isinstance(kind, types.UnionType):
        mapping = [part for part in kind.types if isinstance(part, types.DictType)]
        if not mapping:
            return "true, false, a number or text"
        return ", or ".join(describe(part) for part in kind.types)
    if (item := _item(kind)) is not None:
        return f"{'a mapping' if isinstance(kind, types.DictType) else 'a list'}, each entry {describe(item)}"
    return "a mapping of keys to values"


def _item(kind: types.Type) -> types.Type | None:
    """Type of the entries of a list or free-form mapping, or of the one in a union; None for others."""
    if isinstance(kind, types.UnionType):
        return next(filter(None, map(_item, kind.types)), None)
    if isinstance(kind, types.DictType):
        return _bare(kind.value_type)
    return _bare(kind.item_type) if isinstance(kind, types.VarTupleType | types.ListType) else None


def _fits(kind: types.Type, value: object) -> bool:
    """Whether an entry of a free-form mapping is what it may be: one of some words, or any scalar."""
    if isinstance(kind, types.LiteralType):
        return value in kind.values
    return isinstance(value, bool | int | float | str)


def _bounds(kind: types.IntType | types.FloatType) -> list[str]:
    low = f">= {kind.ge:.12g}" if kind.ge is not None else f"> {kind.gt:.12g}" if kind.gt is not None else ""
    high = f"<= {kind.le:.12g}" if kind.le is not None else f"< {kind.lt:.12g}" if kind.lt is not None else ""
    return [" and ".join(part for part in (low, high) if part)] if low or high else []


def _bare(kind: types.Type) -> types.Type:
    return kind.type if isinstance(kind, types.Metadata) else kind


def _origin(path: Path, origins: Origins, source: str) -> str:
    while path:
        if path in origins:
            return origins[path]
        path = path[:-1]
    return source


def _explain(message: str, values: Value, schema: type[object], origins: Origins, source: str) -> str:
    found = _AT.search(message)
    text = message[: found.start()] if found else message
    place, in_entry, rest = (found["path"] if found else "").partition("[")
    path: Path = tuple(part for part in place.split(".") if part)
    if in_entry:
        return _explain_entry(path, rest.partition("]")[0], values, schema, origins, source)
    known = known_paths(schema)
    named = _FIELD.search(text)
    if named is None:
        rule = describe(known[path]) if path in known else "a mapping of keys to values"
        return str(reject(path or ("config",), rule, _at(values, path), origins, source))
    here = (*path, named["name"])
    if "unknown" in text:
        return str(unknown_key(here, known, origins, source))
    return str(reject(here, "given", None, origins, source, f"Add it: {_example(here)}"))


def _example(path: Path) -> str:
    """`{env: {map: ...}}` without braces: one line a user can paste."""
    return ": {".join(map(str, path)) + ": ..." + "}" * (len(path) - 1)


def _explain_entry(
    path: Path, index: str, values: Value, schema: type[object], origins: Origins, source: str
) -> str:
    """An entry of a list (at `index`) or of a free-form mapping (`...`: whichever does not fit) is wrong."""
    entries, kind = _at(values, path), _item(known_paths(schema)[path])
    if kind is None:
        raise TypeError(f"{dotted(path)} has no entries")
    if index.isdigit():
        bad: str | int = int(index)
    else:
        bad = next(key for key, value in entries.items() if not _fits(kind, value))
    return str(reject((*path, bad), describe(kind), entries[bad], origins, source))


def _at(values: Any, path: Path) -> Any:
    for part in path:
        if not isinstance(values, Mapping) or part not in values:
            return None
        values = values[part]
    return values
