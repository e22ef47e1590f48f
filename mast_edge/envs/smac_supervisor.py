"""One battle that survives its game: replaces a broken worker, with pauses and a limit.

Source: parity_and_safety.md 6, "SC2 crash or hang"; smac.md 6, 10 (item 2).
"""

import threading
import time
import zlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mast_edge.config_fields import SmacGames
from mast_edge.envs.smac_answers import Shown, Stepped, read_shown, read_stepped
from mast_edge.envs.smac_install import explain
from mast_edge.envs.smac_process import WorkerFault, WorkerProcess, WorkerRefusal
from mast_edge.envs.smac_worker import VERSION, Garbage
from mast_edge.errors import EnvironmentUnavailable

LONGEST_PAUSE = 60.0
HOUR = 3600.0
FIRST_LAUNCHES = 3
"""A game that has never started is tried so often: then it is not bad luck, something is missing."""


@dataclass(frozen=True)
class Launch:
    """How to start a game.

    Attributes:
        python: interpreter that has SMAC.
        environ: environment variables.
        map_name: SMAC map.
        options: constructor options of StarCraft2Env that differ from its defaults.
        n_agents, n_actions: sizes every answer must have.
        declared: sizes that `get_env_info` must declare.
        games: time limits, pauses and the restart limit.
    """

    python: str
    environ: Mapping[str, str]
    map_name: str
    options: Mapping[str, Any]
    n_agents: int
    n_actions: int
    declared: Mapping[str, int]
    games: SmacGames


def launch_seed(seed: int, launch: int) -> int:
    """Seed of a game's `launch`-th start, in [0, 2**31): a game started again does not repeat its battles."""
    return seed % 2**31 if launch == 0 else zlib.crc32(f"smac {seed} {launch}".encode()) >> 1


@dataclass
class SupervisedGame:
    """One game and what happened to it.

    Not to be called from two threads at once. `reset` may wait for minutes; setting `stop` ends the wait.

    Attributes:
        launch: how to start it.
        seed: of its first start.
        stop: set when the whole batch is closed.
        lengths: O and S; None until the first answer.
        facts: versions of SMAC and of the game, once it has started.
        restarts: replaced workers and lost connections.
        lost: episodes that were begun and never ended.
        last_fault: what broke it last.
    """

    launch: Launch
    seed: int
    stop: threading.Event
    lengths: tuple[int, int] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    restarts: int = 0
    lost: int = 0
    last_fault: str = ""

    def __post_init__(self) -> None:
        self._worker: WorkerProcess | None = None
        self._launches = 0
        self._faults_in_a_row = 0
        self._recent: deque[float] = deque()

    def reset(self) -> Shown:
        """Starts the next episode, in a new game when the old one is broken.

        Raises:
            EnvironmentUnavailable: something is missing, or the restart limit is reached.
        """
        while True:
            try:
                return self._try_reset()
            except (WorkerFault, Garbage) as fault:
                self._broken(fault)

    def begin_step(self, actions: list[int]) -> float:
        """Sends the actions of the N agents; returns the `time.monotonic()` at which waiting ends."""
        worker = self._worker
        if worker is not None:
            try:
                worker.send({"do": "step", "actions": actions})
            except WorkerFault as fault:
                self._lose(fault)
        return time.monotonic() + self.launch.games.step_timeout

    def end_step(self, deadline: float) -> Stepped | None:
        """The answer to `begin_step`, or None when the episode is lost."""
        worker = self._worker
        if worker is None:
            return None
        try:
            header, payload = worker.receive(deadline, self.stop)
            if header.get("restart") is True:
                self._lost_connection()
                return None
            stepped = read_stepped(header, self._shown(header, payload))
        except (WorkerFault, Garbage) as fault:
            self._lose(fault)
            return None
        except WorkerRefusal as refusal:
            raise self._refused(refusal) from refusal
        if stepped.terminated:
            self._faults_in_a_row = 0
        return stepped

    def end(self) -> None:
        """Ends the game."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()

    def _try_reset(self) -> Shown:
        self._pause()
        try:
            if self._worker is None:
                self._start()
                seconds = self.launch.games.launch_timeout
            else:
                # SMAC itself may start its game anew here, when the connection is lost.
                seconds = self.launch.games.launch_timeout + self.launch.games.step_timeout
            header, payload = self._ask({"do": "reset"}, seconds)
        except WorkerRefusal as refusal:
            raise self._refused(refusal) from refusal
        shown = self._shown(header, payload)
        self.lengths = shown.obs.shape[1], shown.state.shape[0]
        names = ("smac", "python", "game_version", "base_build", "data_version", "max_reward")
        self.facts = {name: header.get(name) for name in names}
        return shown

    def _start(self) -> None:
        """A new worker with its environment made; the game starts at its first reset."""
        launch = self.launch
        seed = launch_seed(self.seed, self._launches)
        self._launches += 1
        self._worker = WorkerProcess(launch.python, launch.environ)
        hello = {"do": "hello", "version": VERSION, "map": launch.map_name, "seed": seed}
        header, _ = self._ask({**hello, "options": dict(launch.options)}, launch.games.launch_timeout)
        if header.get("version") != VERSION:
            raise Garbage(f"version {header.get('version')!r:.40}")
        sizes = header.get("sizes")
        if sizes != dict(launch.declared):
            raise EnvironmentUnavailable(
                f"smac: sizes of {launch.map_name} must be {dict(launch.declared)}; got {sizes!r:.200} from "
                f"the SMAC installed in {launch.python}. Use oxwhirl/smac with its own maps."
            )

    def _ask(self, request: Mapping[str, Any], seconds: float) -> tuple[dict[str, Any], bytes]:
        worker = self._worker
        if worker is None:
            raise WorkerFault("no worker")
        worker.send(request)
        return worker.receive(time.monotonic() + seconds, self.stop)

    def _shown(self, header: Mapping[str, Any], payload: bytes) -> Shown:
        return read_shown(header, payload, self.launch.n_agents, self.launch.n_actions, self.lengths)

    def _lose(self, fault: Exception) -> None:
        self.lost += 1
        self._broken(fault)

    def _lost_connection(self) -> None:
        """SMAC has lost its game and started it again by itself; the worker stays."""
        self.lost += 1
        self._count("SMAC lost its connection to the game")

    def _broken(self, fault: Exception) -> None:
        self.end()
        if self.stop.is_set():
            raise EnvironmentUnavailable("smac: environment must be open; got a closed one.")
        self._count(str(fault))

    def _count(self, fault: str) -> None:
        """One more restart; refuses when there were too many."""
        self.last_fault = fault
        self.restarts += 1
        self._faults_in_a_row += 1
        now = time.monotonic()
        self._recent.append(now)
        while self._recent[0] < now - HOUR:
            self._recent.popleft()
        limit = self.launch.games.restart_limit
        if not self.facts and self._launches >= FIRST_LAUNCHES:
            self.end()
            raise EnvironmentUnavailable(
                f"smac: game must start within {FIRST_LAUNCHES} tries; got: {fault:.300}. "
                f"Try by hand: {self.launch.python} -m smac.examples.random_agents"
            )
        if len(self._recent) > limit:
            self.end()
            raise EnvironmentUnavailable(
                f"smac: restarts of one game must be at most {limit} an hour (env.smac.restart_limit); "
                f"got {len(self._recent)}, the last because: {fault:.300}."
            )

    def _pause(self) -> None:
        """Waits before a start that follows a fault, twice as long after each in a row."""
        if self._faults_in_a_row == 0 or self._worker is not None:
            return
        doublings = min(self._faults_in_a_row - 1, 32)
        seconds = min(LONGEST_PAUSE, self.launch.games.backoff * 2.0**doublings)
        if self.stop.wait(seconds):
            raise EnvironmentUnavailable("smac: environment must be open; got a closed one.")

    def _refused(self, refusal: WorkerRefusal) -> EnvironmentUnavailable:
        self.end()
        return EnvironmentUnavailable(explain(refusal.kind, str(refusal), self.launch.python))
