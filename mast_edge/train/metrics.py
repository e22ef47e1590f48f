"""metrics.jsonl, the truth about a run; TensorBoard and Weights & Biases beside it while they work."""

import contextlib
import json
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from mast_edge.errors import MastEdgeError, MissingExtra

FINISH_SECONDS = 60
"""The longest that the end of a run waits for uploads; what is left can be sent with `wandb sync`."""


class MetricsLog:
    """Appends one JSON object per line: {"kind": "train" | "evaluation" | ..., "t_env": ..., metrics}.

    Values are numbers, booleans, None or mappings of them; what is not finite becomes null. TensorBoard and
    Weights & Biases get the numbers under `kind/a/b`. One that fails is reported once and left out from then
    on; metrics.jsonl must not fail.

    Source: parity_and_safety.md 6, "disk full": logging degrades first.

    Args:
        run: the run folder; everything is written inside it.
        tensorboard: write event files to `tb/`.
        wandb: project at Weights & Biases; empty: none. It obeys WANDB_MODE and the like.
        name: of the run, which decides its id there: a resumed run goes on under the same id. The folder's
            name when empty.
        config: values that Weights & Biases shows beside the run.
        on_remark: told, one line each, what was lost or left out.

    Raises:
        MissingExtra: a project is named and package wandb is not installed; nothing was written.
        MastEdgeError: metrics.jsonl cannot be opened.
    """

    def __init__(
        self,
        run: Path,
        *,
        tensorboard: bool = True,
        wandb: str = "",
        name: str = "",
        config: dict[str, Any] | None = None,
        on_remark: Callable[[str], None] | None = None,
    ) -> None:
        wandb_init = _wandb_init() if wandb else None
        self.path = run / "metrics.jsonl"
        self.on_remark = on_remark
        self.sinks: list[Sink] = []
        with self._explained(0):
            # Unbuffered: a failed line leaves nothing behind that a later flush would write.
            self.file = self.path.open("ab", buffering=0)
        if tensorboard:
            self._open(TensorBoard, run / "tb")
        if wandb_init is not None:
            self._open(WeightsAndBiases, wandb_init, wandb, run, name or run.name, config)

    def resume(self, size: int) -> list[float]:
        """Drops what was written after the checkpoint, torn lines included.

        Args:
            size: bytes of the log at the checkpoint.

        Returns:
            The win rates of all evaluations that remain.

        Raises:
            MastEdgeError: the file cannot be cut or read.
        """
        with self._explained(0):
            held = os.fstat(self.file.fileno()).st_size
            self.file.truncate(min(size, held))
            data = self.path.read_bytes()
            whole = data.rfind(b"\n") + 1
            self.file.truncate(whole)
        if held < size:
            self._remark(
                f"{self.path}: log must hold {size} bytes at the checkpoint; got {held}. Some lines are lost."
            )
        records = list(self._records(data[:whole]))
        after_last = max((r["t_env"] for r in records), default=-1) + 1
        self._each(lambda sink: sink.restart(after_last))
        rates = [r.get("win_rate") for r in records if r["kind"] == "evaluation"]
        return [rate for rate in rates if rate is not None]

    def _records(self, data: bytes) -> Iterator[dict[str, Any]]:
        damaged = 0
        for line in data.splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if isinstance(record, dict) and "kind" in record and isinstance(record.get("t_env"), int):
                yield record
            else:
                damaged += 1
        if damaged:
            self._remark(f"{self.path}: lines must be JSON objects; got {damaged} that are not. Left as is.")

    def write(self, kind: str, t_env: int, metrics: Mapping[str, Any]) -> None:
        """Appends one line and sends its numbers to the other logs.

        Args:
            kind: of the record, also the first part of its numbers' names.
            t_env: environment steps so far.
            metrics: name -> number, bool, None or a mapping of the same.

        Raises:
            MastEdgeError: metrics.jsonl cannot be written; it is as it was before.
            TypeError: a value is of another type.
        """
        plain = _plain(metrics)
        line = json.dumps({"kind": kind, "t_env": t_env, **plain}, allow_nan=False).encode() + b"\n"
        self._append(line)
        numbers = dict(_numbers(kind, plain))
        self._each(lambda sink: sink.write(numbers, t_env))

    def _append(self, line: bytes) -> None:
        with self._explained(len(line)):
            before = os.fstat(self.file.fileno()).st_size
            rest = memoryview(line)
            try:
                while rest:
                    rest = rest[self.file.write(rest) :]
            except OSError:
                with contextlib.suppress(OSError):
                    self.file.truncate(before)
                raise

    def sync(self) -> int:
        """Forces all logs to disk.

        Returns:
            Size of metrics.jsonl in bytes.

        Raises:
            MastEdgeError: metrics.jsonl did not reach the disk.
        """
        self._each(lambda sink: sink.flush())
        with self._explained(0):
            os.fsync(self.file.fileno())
            return os.fstat(self.file.fileno()).st_size

    def close(self) -> None:
        """Closes all logs; Weights & Biases may take up to `FINISH_SECONDS` to upload the rest."""
        self.file.close()
        self._each(lambda sink: sink.close())
        self.sinks.clear()

    @contextlib.contextmanager
    def _explained(self, length: int) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            more = f" ({length} bytes more)" if length else ""
            raise MastEdgeError(
                f"{self.path}: log must be writable{more}; got {problem.strerror or problem}. Free space, "
                "then run the same command again: training goes on from its last checkpoint."
            ) from problem

    def _open(self, kind: "type[TensorBoard] | type[WeightsAndBiases]", *arguments: Any) -> None:
        try:
            self.sinks.append(kind(*arguments))
        except kind.failures as problem:
            self._left_out(kind.title, problem)

    def _each(self, action: "Callable[[Sink], None]") -> None:
        for sink in list(self.sinks):
            try:
                action(sink)
            except sink.failures as problem:
                self.sinks.remove(sink)
                with contextlib.suppress(*sink.failures):
                    sink.close()
                self._left_out(sink.title, problem)

    def _left_out(self, title: str, problem: Exception) -> None:
        what = " ".join(str(problem).split()) or type(problem).__name__
        self._remark(
            f"log: {title} must be writable; got {what:.300}. Left out; metrics.jsonl has everything."
        )

    def _remark(self, text: str) -> None:
        if self.on_remark is not None:
            self.on_remark(text)


class Sink(Protocol):
    """A log beside metrics.jsonl, which may fail.

    Attributes:
        title: its name for people.
        failures: what it may raise; anything else is a fault of ours.
    """

    title: str
    failures: tuple[type[Exception], ...]

    def restart(self, t_env: int) -> None:
        """Takes back numbers of step `t_env` and later: a resumed run writes them again."""
        ...

    def write(self, numbers: Mapping[str, float], t_env: int) -> None:
        """Adds finite numbers by name."""
        ...

    def flush(self) -> None:
        """Forces to disk what was written."""
        ...

    def close(self) -> None:
        """Ends the log."""
        ...


class TensorBoard:
    """Event files, one more each time the run is resumed.

    They are written in the caller's thread: tensorboardX's SummaryWriter has a thread of its own that dies on
    a full disk, after which its queue blocks training for ever.

    Args:
        folder: made when missing.
    """

    title = "TensorBoard"
    failures: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        number = sum(1 for _ in folder.iterdir())  # two files opened in the same second differ in this only
        self.file = EventsWriter(str(folder / "events"), f".{number}")

    def restart(self, t_env: int) -> None:
        """Has readers drop numbers of step `t_env` and later from the files before this one."""
        start = SessionLog(status=SessionLog.START)
        self.file.write_event(Event(wall_time=time.time(), step=t_env, session_log=start))

    def write(self, numbers: Mapping[str, float], t_env: int) -> None:
        """Adds one event."""
        values = [Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        self.file.write_event(Event(wall_time=time.time(), step=t_env, summary=Summary(value=values)))

    def flush(self) -> None:
        """Forces the file to disk."""
        self.file.flush()

    def close(self) -> None:
        """Closes the file."""
        self.file.close()


class WeightsAndBiases:
    """A run at Weights & Biases, its files in `wandb/` of the run folder.

    Args:
        init: `wandb.init`.
        project: the run belongs to.
        run: folder.
        name: decides the run's id.
        config: shown beside the run.
    """

    title = "Weights & Biases"
    failures: tuple[type[Exception], ...] = (Exception,)
    """Errors of its service and of the network have no base class in common."""

    def __init__(
        self, init: Callable[..., Any], project: str, run: Path, name: str, config: dict[str, Any] | None
    ) -> None:
        (run / "wandb").mkdir(exist_ok=True)  # where it cannot write, wandb takes a folder elsewhere
        self.run = init(
            project=project,
            dir=str(run),
            id=re.sub(r"[^A-Za-z0-9_.-]", "-", name)[-128:],
            name=name,
            config=config,
            resume="allow",
            reinit="create_new",
            settings={
                "console": "off",
                "silent": True,
                "save_code": False,
                "login_timeout": FINISH_SECONDS,
                "finish_timeout": FINISH_SECONDS,
            },
        )
        # wandb's own step only grows; a resumed run goes back.
        self.run.define_metric("*", step_metric="t_env")

    def restart(self, t_env: int) -> None:
        """Nothing can be taken back there; repeated steps appear twice."""

    def write(self, numbers: Mapping[str, float], t_env: int) -> None:
        """Adds one row."""
        self.run.log({**numbers, "t_env": t_env})

    def flush(self) -> None:
        """Nothing to do: its service writes on its own."""

    def close(self) -> None:
        """Ends the run there."""
        self.run.finish()


def _wandb_init() -> Callable[..., Any]:
    try:
        from wandb import init
    except ImportError as error:
        raise MissingExtra("train", "wandb", "wandb") from error
    made: Callable[..., Any] = init
    return made


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON can hold: numpy's numbers as Python's, null for NaN and infinities."""
    plain: dict[str, Any] = {}
    for name, given in values.items():
        value = given.item() if isinstance(given, np.generic) else given
        if isinstance(value, Mapping):
            plain[name] = _plain(value)
        elif isinstance(value, float):
            plain[name] = value if math.isfinite(value) else None
        elif value is None or isinstance(value, int):
            plain[name] = value
        else:
            raise TypeError(
                f"metric {name} must be a number, bool, None or mapping; got {type(value).__name__}"
            )
    return plain


def _numbers(prefix: str, plain: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in plain.items():
        if isinstance(value, Mapping):
            yield from _numbers(f"{prefix}/{name}", value)
        elif value is not None:
            yield f"{prefix}/{name}", float(value)
