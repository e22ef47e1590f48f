"""The battle on terminals of any kind. What a frame says is tested in tests/envs/test_ascii_frame.py."""

import io

import pytest
from rich.console import Console
from rich.text import Text

from mast_edge.runtime.ascii_battle import text_of
from mast_edge.runtime.play import play


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr("mast_edge.runtime.ascii_battle.time.sleep", lambda _: None)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


def shown(file=None, name="3m", **console):
    out = file or io.StringIO()
    settings = {"width": 80, "height": 24, "legacy_windows": False} | console
    play(name, "nearest", 1, 3, render="ascii", console=Console(file=out, **settings))
    return out


def test_neighbours_of_one_role_share_a_style():
    text = text_of([("a", "ally"), ("b", "ally"), ("c", "")])
    assert text == Text(" abc", spans=text.spans)
    assert [(span.start, span.end) for span in text.spans if span.style] == [(1, 3)]


def test_a_frame_fits_80_by_24():
    """As many lines as the cursor goes up are one frame."""
    text = shown(force_terminal=True).getvalue()
    assert "\x1b[1A" in text
    frames = text.split("\x1b[2K\r" if "\x1b[2K\r" in text else "\r")
    assert max(frame.count("\n") for frame in frames) <= 24
    assert "..." not in text.splitlines()[-3]


def test_an_ascii_pipe_gets_ascii():
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    shown(file=file)
    text = raw.getvalue().decode("ascii")
    assert "0 ====== 45" in text
    assert "step 8/60" in text


def test_large_sides_fit_a_pipe_of_80_columns():
    text = shown(name="27m_vs_30m").getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "1,215 hp" in text
    assert "move east" in text
