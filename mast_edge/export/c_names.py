"""Names in exported C: every identifier begins with the prefix the user chose.

Templates and tables say `agent_` and `AGENT_`; `renamed` replaces both at the very end, in one place.

Source: runtime.md section 5, "Names".
"""

import re

from mast_edge.errors import UsageError

LONGEST_PREFIX = 22
"""C99 compares 31 letters of an external name (5.2.4.1); the longest one here adds `_selftest`."""

_KEYWORDS = frozenset((
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum",
    "extern", "float", "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return",
    "short", "signed", "sizeof", "static", "struct", "switch", "typedef", "union", "unsigned", "void",
    "volatile", "while", "main",
))
_HEADERS = frozenset((
    "assert", "complex", "ctype", "errno", "fenv", "float", "inttypes", "iso646", "limits", "locale",
    "math", "setjmp", "signal", "stdalign", "stdarg", "stdatomic", "stdbool", "stddef", "stdint", "stdio",
    "stdlib", "stdnoreturn", "string", "tgmath", "threads", "time", "uchar", "wchar", "wctype",
))
"""`<prefix>.h` in the include path would hide these."""
_DEVICES = frozenset(("con", "prn", "aux", "nul"))
"""Names that Windows gives to no file."""


def checked_prefix(prefix: str) -> str:
    """`prefix`, when C and every file system accept what is made of it.

    Raises:
        UsageError: no identifier, too long, or a word that C, its headers or a file system has taken.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", prefix, re.ASCII) or len(prefix) > LONGEST_PREFIX:
        raise UsageError(
            f"export c: prefix must match [A-Za-z_][A-Za-z0-9_]* and have at most {LONGEST_PREFIX} letters; "
            f"got {prefix!r:.60}. Choose another with --prefix."
        )
    if prefix.startswith("_") or prefix in _KEYWORDS or prefix.lower() in _HEADERS | _DEVICES:
        raise UsageError(
            f"export c: prefix must be a name that C leaves free; got {prefix}, which is reserved. "
            "Choose another with --prefix."
        )
    return prefix


def renamed(text: str, prefix: str) -> str:
    """`text` with `agent_` and `AGENT_` at the beginning of names replaced by the prefix."""
    text = re.sub(r"\bagent_", f"{prefix}_", text)
    text = re.sub(r"\bAGENT_", f"{prefix.upper()}_", text)
    return re.sub(r"\bagent\.([ch])\b", rf"{prefix}.\1", text)
