"""`mast-edge play` with replays and films: what it prints, writes and refuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from mast_edge.cli import cli
from mast_edge.envs.skirmish import SIMULATOR_VERSION
from mast_edge.exits import run


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs `play` in an empty folder; exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(cli, ["play", *arguments])
        return code, *capsys.readouterr()

    return call


def test_save_a_replay_and_watch_it(call: Any, tmp_path: Path) -> None:
    code, out, err = call("3m", "--seed", "3", "--save-replay", "a.replay", "--json")
    assert code == 0
    assert err == "replays: a.replay\n"
    played = json.loads(out)
    assert (played["episodes"], played["simulator"]) == (1, SIMULATOR_VERSION)
    code, out, err = call("a.replay", "--json", "--quiet")
    assert (code, err) == (0, "")
    again = json.loads(out)
    assert again["policy"] == "a.replay"
    assert again["mean_return"] == played["mean_return"]
    code, out, err = call("a.replay", "--render", "ascii", "--json")
    assert code == 0
    assert json.loads(out)["mean_length"] == played["mean_length"]
    assert f" after {played['mean_length']:.0f} steps" in err  # pictures do not disturb the object


def test_films_have_names_of_their_own(call: Any, tmp_path: Path) -> None:
    code, _, err = call("3m", "--render", "gif", "--save-replay", "b.replay", "--quiet")
    assert (code, err) == (0, "")
    assert call("b.replay", "--render", "gif")[2] == "film: b.gif\n"
    assert call("b.replay", "--render", "gif", "--out", "c.gif", "--json")[0] == 0
    assert {file.name for file in tmp_path.iterdir()} == {"3m.gif", "b.replay", "b.gif", "c.gif"}
    assert (tmp_path / "b.gif").read_bytes() == (tmp_path / "c.gif").read_bytes()


def test_a_folder_takes_all_of_a_hundred(call: Any, tmp_path: Path) -> None:
    _, out, _ = call("3m", "--save-replay", "battles", "--json")
    assert json.loads(out)["episodes"] == len(list((tmp_path / "battles").iterdir())) == 100


def test_refusals_are_one_line(call: Any, tmp_path: Path) -> None:
    call("3m", "--save-replay", "a.replay")
    data = (tmp_path / "a.replay").read_bytes()
    (tmp_path / "cut.replay").write_bytes(data[:-3])
    (tmp_path / "new.replay").write_bytes(data.replace(b"replay/1", b"replay/2"))
    (tmp_path / "text.replay").write_text("nothing of the kind")
    for arguments, code, says in (
        (["cut.replay"], 5, "It is damaged"),
        (["new.replay"], 5, "format must be mast-edge/replay/1; got mast-edge/replay/2"),
        (["text.replay", "--render", "ascii"], 5, "Not a replay"),
        (["none.replay"], 3, "got no none.replay"),
        (["a.replay", "--policy", "random"], 2, "do not apply to a replay"),
        (["a.replay", "--save-replay", "b.replay"], 2, "do not apply to a replay"),
        (["3m", "--out", "x.gif"], 2, "--out needs --render gif"),
        (["3m", "--render", "gif", "--out", "no/x.gif"], 2, "a folder that exists"),
        (["3m", "--render", "png"], 2, "'png' is not one of"),
        (["3m", "--save-replay", "no/a.replay"], 2, "a folder that exists"),
        (["3m", "--save-replay", "a.replay/b"], 1, "file system"),
    ):
        got, out, err = call(*arguments)
        assert (got, out) == (code, ""), arguments
        assert says in err
        assert len(err.splitlines()) == 1
