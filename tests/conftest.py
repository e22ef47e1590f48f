"""For all tests."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mast_edge.cli import cli
from mast_edge.exits import run
from mast_edge.native import _core

# A shell that starts the suite in the background lets it ignore Ctrl-C, and so would the programs under test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled C goes into a folder of the tests, not into the user's cache. Which table a layer runs from
    does not depend on the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAST_EDGE_KERNEL_COSTS", "shipped")
        own = os.environ.get("MAST_EDGE_CACHE") or str(tmp_path_factory.mktemp("cache"))
        patch.setenv("MAST_EDGE_CACHE", own)
        yield


@pytest.fixture(params=_core.instruction_sets())
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test with the kernels of each instruction set that this CPU has."""
    before = _core.kernel_path()
    _core.use_instruction_set(request.param)
    yield request.param
    _core.use_instruction_set(before)


class Answer:
    """What a command left behind."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        """The one object on standard output."""
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs a command in this process, with runs in an empty folder."""
    monkeypatch.setenv("MAST_EDGE_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("MAST_EDGE_SET", raising=False)

    def call(*arguments: str) -> Answer:
        capsys.readouterr()
        code = run(cli, arguments)
        out, err = capsys.readouterr()
        return Answer(code, out, err)

    return call
