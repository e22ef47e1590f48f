"""metrics.jsonl holds everything; the other logs come and go."""

import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from mast_edge.errors import MastEdgeError, MissingExtra
from mast_edge.train.metrics import MetricsLog


def lines(run: Path) -> list[dict[str, Any]]:
    """Read as strictly as any JSON reader might."""

    def refuse(text: str) -> Any:
        raise ValueError(text)

    text = (run / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def events(path: Path) -> list[Any]:
    """A record is its length, a checksum of that, an event, a checksum of that."""
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        found.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return found


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag -> (step, value) in order of writing, without what readers drop at a restart."""
    kept: dict[str, list[tuple[int, float]]] = {}
    for path in sorted((run / "tb").iterdir(), key=lambda p: int(p.suffix[1:])):
        for event in events(path):
            if event.session_log.status == SessionLog.START:
                kept = {tag: [p for p in points if p[0] < event.step] for tag, points in kept.items()}
            for value in event.summary.value:
                kept.setdefault(value.tag, []).append((event.step, value.simple_value))
    return kept


def open_file(name: str) -> int:
    """The descriptor of this process's open file whose path holds `name`."""
    for entry in Path("/proc/self/fd").iterdir():
        if name in os.path.realpath(entry):
            return int(entry.name)
    raise AssertionError(f"{name} is not open")


def fill_disk_under(descriptor: int) -> None:
    """From here on a write to the descriptor finds the disk full."""
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, descriptor)
    os.close(full)


needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


def test_one_object_per_line(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.write("train", 100, {"loss": 0.5, "updates": 3})
    log.write("topology", 200, {"layers": {"agent.fc1": {"nnz": 7, "density": 0.25}}})
    assert log.sync() == (tmp_path / "metrics.jsonl").stat().st_size
    log.close()
    assert lines(tmp_path) == [
        {"kind": "train", "t_env": 100, "loss": 0.5, "updates": 3},
        {"kind": "topology", "t_env": 200, "layers": {"agent.fc1": {"nnz": 7, "density": 0.25}}},
    ]
    assert scalars(tmp_path) == {
        "train/loss": [(100, 0.5)],
        "train/updates": [(100, 3.0)],
        "topology/layers/agent.fc1/nnz": [(200, 7.0)],
        "topology/layers/agent.fc1/density": [(200, 0.25)],
    }


def test_what_json_cannot_hold(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    values = {
        "nan": float("nan"),
        "deep": {"inf": -float("inf"), "none": None},
        "single": np.float32(0.5),
        "double": np.float64("inf"),
        "count": np.int64(3),
        "flag": np.bool_(True),
        "plain": False,
    }
    log.write("train", 1, values)
    log.close()
    assert lines(tmp_path) == [
        {
            "kind": "train",
            "t_env": 1,
            "nan": None,
            "deep": {"inf": None, "none": None},
            "single": 0.5,
            "double": None,
            "count": 3,
            "flag": True,
            "plain": False,
        }
    ]
    assert scalars(tmp_path) == {
        "train/single": [(1, 0.5)],
        "train/count": [(1, 3.0)],
        "train/flag": [(1, 1.0)],
        "train/plain": [(1, 0.0)],
    }


def test_other_types_are_faults(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, tensorboard=False)
    with pytest.raises(TypeError, match="metric names must be a number, bool, None or mapping; got list"):
        log.write("train", 1, {"names": ["a"]})
    log.close()
    assert lines(tmp_path) == []


def test_without_tensorboard(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, tensorboard=False)
    log.write("train", 1, {"loss": 1.0})
    log.close()
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_resume_drops_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.resume(0)
    log.write("evaluation", 10, {"win_rate": 0.25})
    log.write("evaluation", 20, {"win_rate": float("nan")})
    log.write("train", 20, {"loss": 3.0})
    size = log.sync()
    log.write("evaluation", 30, {"win_rate": 0.5})
    log.close()
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"kind": "tra')  # the process died here

    log = MetricsLog(tmp_path)
    assert log.resume(size) == [0.25]
    log.write("evaluation", 40, {"win_rate": 0.75})
    log.close()
    assert [r["t_env"] for r in lines(tmp_path)] == [10, 20, 20, 40]
    assert scalars(tmp_path)["evaluation/win_rate"] == [(10, 0.25), (40, 0.75)]
    assert scalars(tmp_path)["train/loss"] == [(20, 3.0)]


def test_a_start_without_checkpoint_drops_everything(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.resume(0)
    log.write("evaluation", 0, {"win_rate": 0.25})
    log.close()
    log = MetricsLog(tmp_path)
    assert log.resume(0) == []
    log.close()
    assert lines(tmp_path) == []
    assert scalars(tmp_path) == {"evaluation/win_rate": []}


def test_a_log_that_lost_its_end_goes_on(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(
        '{"kind": "evaluation", "t_env": 1, "win_rate": 0.5}\n{"kind": 3\n[1]\n{"kind": "eval'
    )
    remarks: list[str] = []
    log = MetricsLog(tmp_path, tensorboard=False, on_remark=remarks.append)
    assert log.resume(1000) == [0.5]
    log.write("train", 2, {})
    log.close()
    assert (tmp_path / "metrics.jsonl").read_text().endswith('[1]\n{"kind": "train", "t_env": 2}\n')
    assert "must hold 1000 bytes at the checkpoint; got 81" in remarks[0]
    assert "got 2 that are not" in remarks[1]
    assert len(remarks) == 2


@needs_dev_full
def test_a_full_disk_under_the_log_stops_training(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    log = MetricsLog(tmp_path, tensorboard=False)
    with pytest.raises(MastEdgeError) as stopped:
        log.write("train", 1, {"loss": 1.0})
    assert "metrics.jsonl: log must be writable (43 bytes more); got No space left on device." in str(
        stopped.value
    )
    assert "run the same command again" in str(stopped.value)
    assert stopped.value.exit_code == 1
    log.close()


HALF_A_LINE = """
import resource, sys
from pathlib import Path
from mast_edge.errors import MastEdgeError
from mast_edge.train.metrics import MetricsLog

log = MetricsLog(Path(sys.argv[1]), tensorboard=False)
log.write("train", 1, {"loss": 1.0})
size = log.sync()
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, size + 10))
try:
    log.write("train", 2, {"loss": 2.0})
except MastEdgeError as error:
    print(error)
assert log.sync() == size
log.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_line_that_fits_in_part_leaves_nothing(tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, "-c", HALF_A_LINE, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "got File too large" in made.stdout
    assert [r["t_env"] for r in lines(tmp_path)] == [1]


@needs_dev_full
@pytest.mark.parametrize("last", ["sync", "close"])
def test_a_full_disk_under_tensorboard_costs_only_tensorboard(tmp_path: Path, last: str) -> None:
    remarks: list[str] = []
    log = MetricsLog(tmp_path, on_remark=remarks.append)
    log.write("train", 1, {"loss": 1.0})
    log.sync()
    fill_disk_under(open_file("tfevents"))
    for t_env in range(2, 2000):  # far more than any buffer or queue takes
        log.write("train", t_env, {"loss": 1.0})
    getattr(log, last)()
    log.close()
    assert remarks == [
        "log: TensorBoard must be writable; got [Errno 28] No space left on device. Left out; metrics.jsonl "
        "has everything."
    ]
    assert len(lines(tmp_path)) == 1999
    assert scalars(tmp_path) == {"train/loss": [(1, 1.0)]}


def test_no_place_for_tensorboard(tmp_path: Path) -> None:
    (tmp_path / "tb").write_text("a file")
    remarks: list[str] = []
    log = MetricsLog(tmp_path, on_remark=remarks.append)
    log.write("train", 1, {"loss": 1.0})
    log.close()
    assert len(remarks) == 1
    assert "TensorBoard must be writable" in remarks[0]
    assert len(lines(tmp_path)) == 1


def test_a_log_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(MastEdgeError, match="log must be writable; got Is a directory"):
        MetricsLog(tmp_path)


def test_a_project_needs_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if not installed
    with pytest.raises(MissingExtra, match=r"package wandb must be installed; .* 'mast-edge\[wandb\]'"):
        MetricsLog(tmp_path, wandb="project")
    assert list(tmp_path.iterdir()) == []
    MetricsLog(tmp_path).close()  # nobody asked for it


WANDB = """
import json, sys
from pathlib import Path
from mast_edge.train.metrics import MetricsLog

log = MetricsLog(
    Path(sys.argv[1]), tensorboard=False, wandb="project", name="qmix-3m:seed1",
    config={"optim": {"lr": 0.25}}, on_remark=print,
)
log.resume(0)
log.write("train", 123, {"loss": 0.625, "layers": {"agent.fc1": {"nnz": 7}}, "nothing": None})
log.write("train", 100, {"loss": 0.75})
log.close()
print("console untouched:", sys.stdout is sys.__stdout__)
"""


def with_wandb(tmp_path: Path, program: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """A process of its own: wandb leaves hooks and a service behind."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    home = {"HOME": str(tmp_path / "home"), "NETRC": str(tmp_path / "home" / "netrc")}
    (tmp_path / "home").mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "run")],
        env={**kept, **home, "WANDB_ERROR_REPORTING": "false", **environment},
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    pytest.importorskip("wandb")
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def wandb_records(path: Path) -> list[Any]:
    """LevelDB's log format in its first block: seven bytes, then checksum, length, type, record."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, found = path.read_bytes(), 7, []
    assert len(data) < 2**15
    while at < len(data):
        _, length, kind = struct.unpack_from("<IHB", data, at)
        assert kind == 1  # whole
        found.append(Record.FromString(data[at + 7 : at + 7 + length]))
        at += 7 + length
    return found


def test_offline_weights_and_biases(tmp_path: Path, run: Path) -> None:
    for _ in range(2):  # and once more, as a resumed run does
        made = with_wandb(tmp_path, WANDB, WANDB_MODE="offline")
        assert (made.returncode, made.stdout) == (0, "console untouched: True\n"), made.stderr
        time.sleep(1)  # its folders are named by the second
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home", "run"]
    assert sorted(p.name for p in run.iterdir()) == ["metrics.jsonl", "wandb"]
    files = sorted((run / "wandb").glob("offline-run-*/run-*.wandb"))
    assert [path.name for path in files] == ["run-qmix-3m-seed1.wandb"] * 2

    records = wandb_records(files[0])
    started = next(r.run for r in records if r.HasField("run"))
    assert (started.project, started.run_id, started.display_name) == (
        "project",
        "qmix-3m-seed1",
        "qmix-3m:seed1",
    )
    assert json.loads({c.key: c.value_json for c in started.config.update}["optim"]) == {"lr": 0.25}
    rows = [
        {"/".join([i.key, *i.nested_key]).strip("/"): json.loads(i.value_json) for i in r.history.item}
        for r in records
        if r.HasField("history")
    ]
    assert [row["t_env"] for row in rows] == [123, 100]
    assert [row["train/loss"] for row in rows] == [0.625, 0.75]
    assert rows[0]["train/layers/agent.fc1/nnz"] == 7
    assert "train/nothing" not in rows[0]


def test_weights_and_biases_without_login(tmp_path: Path, run: Path) -> None:
    made = with_wandb(tmp_path, WANDB)
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("log: Weights & Biases must be writable; got No API key configured.")
    assert made.stdout.count("log:") == 1
    assert [r["t_env"] for r in lines(run)] == [123, 100]


def test_no_place_for_weights_and_biases(tmp_path: Path, run: Path) -> None:
    (run / "wandb").write_text("a file")
    made = with_wandb(tmp_path, WANDB, WANDB_MODE="offline")
    assert made.stdout.startswith("log: Weights & Biases must be writable; got [Errno 17] File exists"), (
        made.stderr
    )
    assert [r["t_env"] for r in lines(run)] == [123, 100]


KILLED = """
import os, signal, sys, time
from pathlib import Path
from mast_edge.train.metrics import MetricsLog

log = MetricsLog(Path(sys.argv[1]), tensorboard=False, wandb="project", on_remark=print)
log.write("train", 1, {"loss": 1.0})
for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
    os.kill(int(child), signal.SIGKILL)
time.sleep(0.5)
for t_env in range(2, 100):
    log.write("train", t_env, {"loss": 1.0})
log.sync()
log.close()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_its_service_dies(tmp_path: Path, run: Path) -> None:
    made = with_wandb(tmp_path, KILLED, WANDB_MODE="offline")
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("log: Weights & Biases must be writable; got")
    assert made.stdout.count("log:") == 1
    assert len(lines(run)) == 99
