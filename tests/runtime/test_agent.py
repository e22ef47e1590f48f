import subprocess
import sys
import time

import numpy as np
import pytest

from mast_edge.errors import MastEdgeError, MissingExtra, MissingInput, UsageError
from mast_edge.runtime import Agent

BLOCKED = ["torch", "onnx", "onnxruntime", "scipy", "tensorboardX", "matplotlib"]


def test_auto_takes_the_usual_backend(tiny):
    assert Agent.load(tiny / "exports/csr/agent.safetensors").model.path_taken.startswith("native")
    assert Agent.load(tiny / "exports/onnx/agent.onnx").model.path_taken.startswith("onnxruntime")
    assert Agent.load(tiny).model.path_taken.startswith("numpy")
    assert Agent.load(str(tiny), backend="torch").model.path_taken.startswith("torch")


def test_reports_can_say_where_an_agent_comes_from(tiny):
    model = Agent.load(tiny / "exports/csr/agent.safetensors").model
    assert model.provenance["algorithm"] == "qmix"
    assert model.provenance["checkpoint_sha256"] == Agent.load(tiny).model.sha256
    assert len(model.sha256) == 64
    assert model.contract.map_name == "3m"


def test_what_cannot_be_loaded_says_what_to_do(tiny, tmp_path):
    with pytest.raises(MissingInput, match="mast-edge export"):
        Agent.load(tmp_path / "none.safetensors")
    with pytest.raises(UsageError, match="Did you mean 'torch'"):
        Agent.load(tiny, backend="troch")
    with pytest.raises(MissingInput, match="--format csr"):
        Agent.load(tiny, backend="csr")
    with pytest.raises(MissingInput, match=r"agent\.onnx"):
        Agent.load(tiny / "exports/csr/agent.safetensors", backend="onnx")
    with pytest.raises(MissingInput, match="checkpoint folder"):
        Agent.load(tiny / "exports/csr/agent.safetensors", backend="torch")
    (tmp_path / "agent.pt").write_bytes(b"x")
    with pytest.raises(MastEdgeError, match="must end in"):
        Agent.load(tmp_path / "agent.pt")


@pytest.mark.parametrize(
    ("backend", "package", "extra"), [("onnx", "onnxruntime", "onnx"), ("torch", "torch", "train")]
)
def test_a_missing_package_names_the_command(tiny, monkeypatch, backend, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"pip install 'mast-edge\[{extra}\]'"):
        Agent.load(tiny / "exports/onnx/agent.onnx", backend=backend)


def test_without_the_native_core_numpy_runs_and_says_so(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "mast_edge.native._core", None)
    with pytest.warns(UserWarning, match="running dense numpy"):
        agent = Agent.load(tiny / "exports/csr/agent.safetensors")
    assert agent.model.path_taken == "numpy: dense"


def test_runs_with_every_optional_package_blocked(tiny):
    code = f"""
import sys
for name in {BLOCKED}: sys.modules[name] = None
import numpy as np
from mast_edge.runtime import Agent
for backend in ("csr", "numpy"):
    agent = Agent.load({str(tiny / "exports/csr/agent.safetensors")!r}, backend=backend)
    print(agent.act(np.ones(7, np.float32), np.ones(5, bool)), agent.model.path_taken.split()[0].rstrip(":"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (one, kind), (two, other) = (line.split() for line in done.stdout.splitlines())
    assert one == two
    assert (kind, other) == ("native", "numpy")


def test_other_threads_run_during_act_many(exported):
    """The native batch lets go of the interpreter: a Python thread gets on meanwhile."""
    import threading

    agent = Agent.load(exported() / "exports/csr/agent.safetensors")
    n = 20_000
    states = agent.states(np.zeros(n, np.int64))
    obs, avail = np.zeros((n, 30), np.float32), np.ones((n, 9), np.uint8)
    done = threading.Event()
    seen: list[float] = []

    def watch():
        while not done.is_set():
            seen.append(time.perf_counter())
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    begin = time.perf_counter()
    agent.act_many(obs, avail, states)
    end = time.perf_counter()
    done.set()
    watcher.join()
    assert end - begin > 0.01
    assert sum(begin < moment < end for moment in seen) >= 2
