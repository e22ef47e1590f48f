"""Markdown pages that hold text from files: nothing of it is interpreted."""

import re
from collections.abc import Sequence

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~&])")


def escaped(value: object) -> str:
    """Text on one line that Markdown does not interpret; control and direction marks become `?`.

    Lists are joined by commas, None is `unknown`.
    """
    text = ", ".join(map(str, value)) if isinstance(value, list) else value
    line = " ".join(str("unknown" if text is None else text).split())[:200]
    return _SPECIAL.sub(r"\\\1", "".join(c if c.isprintable() else "?" for c in line))


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table whose cells are escaped."""
    lines = [head, ["---"] * len(head), *([escaped(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
