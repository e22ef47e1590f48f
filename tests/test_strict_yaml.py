"""The strict YAML reader: the table of parity_and_safety.md section 7, row by row, and fuzz."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mast_edge.errors import ConfigError
from mast_edge.strict_yaml import MAX_BYTES, MAX_VALUES, load


def value(text: str | bytes) -> object:
    return load(text, "f.yaml").value


def refused(text: str | bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text, "f.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5e-4", 5e-4),
        ("1e3", 1000.0),
        ("-.5", -0.5),
        ("7.", 7.0),
        ("2_050_000", 2_050_000),
        ("-3", -3),
        ("0", 0),
        ("1__0", "1__0"),
        ("1:30", "1:30"),
        ("2026-11-22", "2026-11-22"),
        ("yes", "yes"),
        ("off", "off"),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("'5e-4'", "5e-4"),
        ('"true"', "true"),
        ("3m", "3m"),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, expected: object) -> None:
    found = value(f"x: {text}")
    assert found == {"x": expected}
    assert isinstance(found, dict)
    assert type(found["x"]) is type(expected)


def test_keys_are_always_text() -> None:
    assert value("on: yes\n1: a\nnull: b\ntrue: c") == {"on": "yes", "1": "a", "null": "b", "true": "c"}


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("seed: 0123", 1, "leading zeros; got 0123. Quote it"),
        ("a: 1\nseed: -007", 2, "leading zeros"),
        ("x: .nan", 1, "finite; got .nan"),
        ("x: -.inf", 1, "finite"),
        ("x: 1e400", 1, "finite; got 1e400, which overflows"),
        ("x: 9223372036854775808", 1, "64 bits"),
        ("x: " + "9" * 5000, 1, "64 bits"),
        ("a: 1\nb: 2\na: 3", 3, "'a' again, first on line 1"),
        ("a: {b: 1,\n b: 2}", 2, "'b' again, first on line 1"),
        ("a: &x 1", 1, "anchor or alias 'x'"),
        ("a: [1]\nb: *a", 2, "anchor or alias 'a'"),
        ("a: !!python/object:os.system ls", 1, "tags"),
        ("a: !!int '3'", 1, "tags"),
        ("a: ! 3", 1, "tags"),
        ("{{a: 1}: 2}", 1, "key must be a plain word"),
        ("? [a]\n: 1", 1, "key must be a plain word"),
        ("a: b: c", 1, "valid YAML"),
        ("a: 1\n\tb: 2", 2, "valid YAML"),
        ("a: 1\n---\nb: 2", 2, "one document"),
        ("a: \x07", None, "valid YAML"),
        ("{a: " * 40, 1, "32 levels"),
        ("[" * 5000, 1, "32 levels"),
        ("a: 'open", None, "valid YAML"),
        ("a: \ud800", None, "valid YAML"),
    ],
)
def test_what_is_refused_is_refused_with_its_line(text: str, line: int | None, says: str) -> None:
    message = refused(text)
    assert says in message
    assert message.startswith(f"f.yaml:{line}:" if line else "f.yaml")


def test_bytes_must_be_utf8_and_name_the_line() -> None:
    assert value("\ufeffa: é".encode()) == {"a": "é"}
    assert refused(b"a: 1\nb: \xff").startswith("f.yaml:2: a config must be UTF-8 text; got byte 0xff")


def test_size_and_number_of_values_are_bounded() -> None:
    assert "at most 1000000 bytes" in refused(b" " * (MAX_BYTES + 1))
    started = time.monotonic()
    assert f"at most {MAX_VALUES} values" in refused("[" + "1," * 400_000 + "1]")
    assert time.monotonic() - started < 1.0


def test_lines_of_every_entry_are_known() -> None:
    lines = load("a: 1\nb:\n  c: 2\n  d:\n    - x\n    - y\n", "f").lines
    assert lines == {
        ("a",): 1,
        ("b",): 2,
        ("b", "c"): 3,
        ("b", "d"): 4,
        ("b", "d", 0): 5,
        ("b", "d", 1): 6,
    }


def test_an_alias_bomb_is_refused_at_its_first_anchor() -> None:
    bomb = 'a: &a ["x"]\n' + "\n".join(
        f"{c}: &{c} [*{p},*{p}]" for p, c in zip("abcdefg", "bcdefgh", strict=True)
    )
    assert refused(bomb).startswith("f.yaml:1:")


@settings(max_examples=300, deadline=1000)
@given(st.one_of(st.binary(max_size=200), st.text(alphabet=":-[]{}&*!|>'\"%@`#,? \n\tab01.e_", max_size=120)))
def test_anything_else_is_parsed_or_refused_but_never_breaks(text: str | bytes) -> None:
    try:
        load(text, "f.yaml")
    except ConfigError as error:
        message = str(error)
    else:
        message = "f.yaml"
    assert message.startswith("f.yaml")
