"""A small, strict YAML: what a config may contain, and nothing that surprises.

Scalars follow YAML 1.2 (`5e-4` is a number, `yes` is a word), mapping keys are always strings, and every
value knows its line. Anchors, aliases, tags, duplicate keys, leading zeros, NaN and infinities are refused.

Source: parity_and_safety.md, section 7.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from mast_edge.errors import ConfigError

Scalar = str | int | float | bool | None
Value = Scalar | list["Value"] | dict[str, "Value"]
Path = tuple[str | int, ...]

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
TOO_DEEP = f"nesting must be at most {MAX_DEPTH} levels deep; got more."
MAX_VALUES = 10_000
"""Far above any config; keeps a hostile megabyte of tiny values from costing seconds."""

_INTEGER = re.compile(r"[-+]?[0-9]+(?:_[0-9]+)*\Z")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")
_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file.

    Attributes:
        value: plain Python data.
        lines: path of keys and list positions -> line (from 1) on which that entry starts.
    """

    value: Value
    lines: dict[Path, int] = field(default_factory=dict)


def read_scalar(text: str, where: str) -> Scalar:
    """The value of an unquoted scalar.

    Args:
        text: the scalar as written, without surrounding blanks.
        where: location for the message, such as `configs/a.yaml:3`.

    Raises:
        ConfigError: leading zeros, an integer beyond 64 bits, NaN or infinity.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _LEADING_ZERO.match(text):
        raise ConfigError(
            f"{where}: a number must be written without leading zeros; got {_short(text)}. "
            "Quote it if it is text, or drop the zero."
        )
    if _INTEGER.match(text):
        if len(text) > 40 or not -(2**63) <= (number := int(text)) < 2**63:
            raise ConfigError(f"{where}: an integer must fit into 64 bits; got {_short(text)}.")
        return number
    if _FLOAT.match(text):
        value = float(text)
        if value in (float("inf"), float("-inf")):
            raise ConfigError(f"{where}: a number must be finite; got {_short(text)}, which overflows.")
        return value
    if _NOT_FINITE.match(text):
        raise ConfigError(f"{where}: a number must be finite; got {text}. Quote it if it is text.")
    return text


def load(text: str | bytes, name: str, *, numbered: bool = True) -> Document:
    """Parses one YAML document.

    Args:
        text: the document; bytes must be UTF-8.
        name: what to call it in messages, usually the path.
        numbered: add the line to `name` in messages; off for a value that is no file.

    Raises:
        ConfigError: not YAML, or YAML that is not allowed here; the message holds `name:line`.
    """
    size = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise ConfigError(f"{name}: a config must be at most {MAX_BYTES} bytes; got {size}.")
    return _Parser(_decode(text, name), name, numbered).document()


def _decode(text: str | bytes, name: str) -> str:
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{name}:{line}: a config must be UTF-8 text; got byte 0x{text[error.start]:02x}."
        ) from error


def _line(event: yaml.Event) -> int:
    """Line of an event, from 1."""
    return event.start_mark.line + 1 if event.start_mark is not None else 1


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."


class _Parser:
    """Builds plain data from PyYAML's events: no constructor, resolver or alias of PyYAML takes part."""

    def __init__(self, text: str, name: str, numbered: bool) -> None:
        self._numbered = numbered
        self._name = name
        self._text = text
        self._lines: dict[Path, int] = {}
        self._count = 0

    def document(self) -> Document:
        try:
            events = self._events()
            value: Value = None
            seen = 0
            for event in events:
                if isinstance(event, yaml.DocumentStartEvent):
                    seen += 1
                    if seen > 1:
                        raise ConfigError(
                            f"{self._where(event)}: a file must hold one document; got a second."
                        )
                    value = self._value(next(events), events, ())
            return Document(value, self._lines)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = self._at_line(mark.line + 1) if mark is not None else self._name
            problem = " ".join(str(error.problem or error.context).split())
            if "nesting depth" in problem:  # libyaml looks ahead, and has a limit of its own
                raise ConfigError(f"{where}: {TOO_DEEP}") from error
            raise ConfigError(f"{where}: a config must be valid YAML; got: {problem}.") from error
        except (yaml.YAMLError, UnicodeEncodeError) as error:
            problem = " ".join(str(error).split())
            raise ConfigError(f"{self._name}: a config must be valid YAML; got: {problem}.") from error

    def _events(self) -> Iterator[yaml.Event]:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        yield from yaml.parse(self._text, Loader=loader)

    def _where(self, event: yaml.Event) -> str:
        return self._at_line(_line(event))

    def _at_line(self, line: int) -> str:
        return f"{self._name}:{line}" if self._numbered else self._name

    def _value(self, event: yaml.Event, events: Iterator[yaml.Event], path: Path) -> Value:
        where = self._where(event)
        self._count += 1
        if self._count > MAX_VALUES:
            raise ConfigError(f"{where}: a config must hold at most {MAX_VALUES} values; got more.")
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if anchor is not None:
            raise ConfigError(
                f"{where}: values must be written out; got anchor or alias '{anchor}'. Repeat it."
            )
        if tag is not None:
            raise ConfigError(f"{where}: values must not carry tags; got '{_short(tag)}'. Remove the tag.")
        if len(path) > MAX_DEPTH:
            raise ConfigError(f"{where}: {TOO_DEEP}")
        if isinstance(event, yaml.ScalarEvent):
            return read_scalar(event.value, where) if event.implicit[0] else str(event.value)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(events, path)
        return self._mapping(events, path)

    def _sequence(self, events: Iterator[yaml.Event], path: Path) -> list[Value]:
        items: list[Value] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            here = (*path, len(items))
            self._lines[here] = _line(event)
            items.append(self._value(event, events, here))
        return items

    def _mapping(self, events: Iterator[yaml.Event], path: Path) -> dict[str, Value]:
        entries: dict[str, Value] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self._key(event)
            here = (*path, key)
            if key in entries:
                raise ConfigError(
                    f"{self._where(event)}: a key must appear once; got '{_short(key)}' again, first on line "
                    f"{self._lines[here]}. Keep one of them."
                )
            self._lines[here] = _line(event)
            entries[key] = self._value(next(events), events, here)
        return entries

    def _key(self, event: yaml.Event) -> str:
        if isinstance(event, yaml.ScalarEvent) and event.anchor is None and event.tag is None:
            return str(event.value)
        raise ConfigError(
            f"{self._where(event)}: a key must be a plain word; got a list, mapping, alias or tag."
        )
