"""The battle on terminals of any kind. What a frame says is tested in tests/envs/test_ascii_frame.py."""

import io

import pytest
from rich.console import Console
from rich.text import Text

from mast_edge.envs.maps import map_names
from mast_edge.runtime.ascii_battle import AsciiBattle, text_of
from mast_edge.runtime.play import play


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr("mast_edge.runtime.ascii_battle.time.sleep", lambda _: None)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


def shown(file=None, name="3m", policy="nearest", **console):
    out = file or io.StringIO()
    settings = {"width": 80, "height": 24, "legacy_windows": False} | console
    play(name, policy, 1, 3, render="ascii", console=Console(file=out, **settings))
    return out


def test_neighbours_of_one_role_share_a_style():
    text = text_of([("a", "ally"), ("b", "ally"), ("c", "")])
    assert text == Text(" abc", spans=text.spans)
    assert [(span.start, span.end) for span in text.spans if span.style] == [(1, 3)]


@pytest.mark.parametrize("name", map_names())
def test_every_frame_fits_80_by_24(name, monkeypatch):
    frames, draw = [], AsciiBattle._show

    def keep(self, frame, pause=1):
        frames.append(self._console.render_lines(frame, self._console.options.update(height=None)))
        draw(self, frame, pause)

    monkeypatch.setattr(AsciiBattle, "_show", keep)
    shown(name=name, force_terminal=True, policy="random")
    assert len(frames) > 8
    assert max(map(len, frames)) <= 24
    widths = {sum(part.cell_length for part in line) for frame in frames for line in frame}
    assert widths == {80}  # padded, nothing folded


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
