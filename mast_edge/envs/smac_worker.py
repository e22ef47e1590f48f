"""The process that holds one game: runs oxwhirl/smac's StarCraft2Env and answers requests over pipes.

Self-contained: started as `PYTHON smac_worker.py` by the interpreter that has SMAC (3.7 or newer), which need
not have this package. `mast_edge.envs` imports the frame format and the process table from here.

A frame is `MSW1`, two little-endian uint32 (bytes of header and of payload), a JSON header, and a payload of
raw little-endian arrays whose names, types and shapes the header's `arrays` lists. Nothing is unpickled.

On POSIX the process splits: the child plays; the parent only watches, and when the child or whoever started
them is gone it ends every process below it, the game included, even one with a session of its own or one
whose own parent has died. A game that blocks the whole interpreter cannot stop it from doing so.

Source: smac.md 4, 6, 10, 11; parity_and_safety.md 6, "SC2 crash or hang".
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

VERSION = 1
"""Of requests and answers; both sides must have the same."""
MAGIC = b"MSW1"
HEAD = struct.Struct("<4sII")
MAX_HEADER = 1 << 16
MAX_PAYLOAD = 1 << 24
PROTOBUF_SWITCH = "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"
_PR_SET_CHILD_SUBREAPER = 36


class Garbage(Exception):
    """What arrived is not a frame."""


class Refusal(Exception):
    """Something is missing or wrong that no restart mends. `kind` names it for the other side."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def frame(header: dict[str, Any], payload: bytes = b"") -> bytes:
    """The bytes of one message. Numbers in `header` must be finite."""
    text = json.dumps(header, allow_nan=False).encode()
    return HEAD.pack(MAGIC, len(text), len(payload)) + text + payload


def read_frame(stream: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """The next message, or None when the stream ends.

    Raises:
        Garbage: the bytes are no frame, too large, cut off, or the header is not a JSON object.
    """
    start = stream.read(HEAD.size)
    if not start:
        return None
    if len(start) < HEAD.size:
        raise Garbage("message cut off")
    magic, header_size, payload_size = HEAD.unpack(start)
    if magic != MAGIC:
        raise Garbage(f"not a message of the worker: {start[:8]!r}")
    if header_size > MAX_HEADER or payload_size > MAX_PAYLOAD:
        raise Garbage(f"message of {header_size} + {payload_size} bytes")
    text, payload = stream.read(header_size), stream.read(payload_size)
    if len(text) < header_size or len(payload) < payload_size:
        raise Garbage("message cut off")
    try:
        header = json.loads(text.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Garbage(f"header is no JSON: {error!s:.80}") from error
    if not isinstance(header, dict):
        raise Garbage("header is no object")
    return header, payload


def _no_constant(name: str) -> None:
    raise ValueError(name + " is not a number")


def parents() -> dict[int, int]:
    """Process id -> parent's id of every living process; those that only wait to be reaped are left out."""
    if sys.platform == "win32":
        return {}
    found = {}
    if not Path("/proc/self/stat").exists():
        answer = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid=,stat="], stdout=subprocess.PIPE, check=False, timeout=10
        )
        for line in answer.stdout.decode(errors="replace").splitlines():
            pid, parent, state = line.split()[:3]
            if not state.startswith("Z"):
                found[int(pid)] = int(parent)
        return found
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path("/proc", entry, "stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue  # it has just ended
            if fields[0] not in (b"Z", b"X"):
                found[int(entry)] = int(fields[1])
    return found


def descendants(root: int) -> list[int]:
    """Every living process below `root`, itself left out, whatever session or group it is in."""
    above = parents()
    inside = {root}
    grown = True
    while grown:
        more = {pid for pid, parent in above.items() if parent in inside} - inside
        inside |= more
        grown = bool(more)
    return sorted(inside - {root})


def kill_below(root: int, seconds: float = 5.0) -> None:
    """Ends every process below `root`, again and again until none is left."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        below = descendants(root)
        for pid in below:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue  # it has just ended
        _reap()
        if not below:
            return
        time.sleep(0.01)


def _reap() -> list[tuple[int, int]]:
    """(pid, status) of the children that have ended."""
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except OSError:
            return ended
        if pid == 0:
            return ended
        ended.append((pid, status))


def split() -> None:
    """Forks: the child returns from here and plays, the parent watches until the end and never returns."""
    if sys.platform.startswith("linux"):
        # Processes below whose own parent dies become children of this one, so that they can be found.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    player = os.fork()
    if player == 0:
        return
    os.close(1)  # the other side sees the end of answers as soon as the player has gone
    poll = select.poll()
    poll.register(0, 0)  # nothing is read here: only the end of requests is reported
    while not poll.poll(500):
        if any(pid == player for pid, _ in _reap()):
            break
    kill_below(os.getpid())
    os._exit(0)


class Player:
    """One StarCraft2Env, and what is asked of it."""

    def __init__(self) -> None:
        self.env: Any = None
        self.max_reward: float | None = None
        self.facts: dict[str, Any] = {}

    def answer(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Header and payload of the answer to one request."""
        asked = {"hello": self.hello, "reset": self.reset, "step": self.step}
        name = request.get("do")
        if name not in asked:
            raise Refusal("request", f"unknown request {name!r}")
        return asked[name](request)

    def hello(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Imports SMAC and makes the environment; the game itself starts at the first reset."""
        if request["version"] != VERSION:
            raise Refusal("version", f"this worker speaks version {VERSION}")
        make, self.facts = load_smac()
        try:
            self.env = make(map_name=request["map"], seed=request["seed"], **request["options"])
        except TypeError as error:
            raise Refusal("options", str(error)) from error
        except KeyError as error:
            raise Refusal("map", f"map {error} is not in its list") from error
        info = self.env.get_env_info()
        sizes = ("n_agents", "n_actions", "obs_shape", "state_shape", "episode_limit")
        return {"version": VERSION, "sizes": {name: int(info[name]) for name in sizes}, **self.facts}, b""

    def reset(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Starts the next episode (the first time: the game)."""
        obs, state = self.env.reset()
        if self.max_reward is None:
            self.max_reward = self.env.max_reward
            self.facts.update(game_facts(self.env))
        # Before the first finished episode SMAC adds the enemies' vitals again at every reset (smac.md 6).
        self.env.max_reward = self.max_reward
        header, payload = self.shown(obs, state)
        return {**header, **self.facts, "max_reward": float(self.max_reward)}, payload

    def step(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Plays one step."""
        env, timeouts = self.env, self.env.timeouts
        reward, terminated, info = env.step(request["actions"])
        if terminated and not info:
            return {"restart": True}, b""
        header, payload = self.shown(env.get_obs(), env.get_state())
        dead = {"allies": env.death_tracker_ally, "enemies": env.death_tracker_enemy}
        header.update(
            reward=float(reward),
            terminated=bool(terminated),
            timed_out=bool(env.timeouts > timeouts),
            battle_won=bool(info.get("battle_won", False)),
            dead_allies=int(info.get("dead_allies", sum(dead["allies"]))),
            dead_enemies=int(info.get("dead_enemies", sum(dead["enemies"]))),
        )
        return header, payload

    def shown(self, obs: Any, state: Any) -> tuple[dict[str, Any], bytes]:
        """What is seen and may be done now, as arrays."""
        import numpy as np

        arrays = {
            "obs": np.stack([np.asarray(row, dtype="<f4") for row in obs]),
            "state": np.asarray(state, dtype="<f4"),
            "avail": np.asarray(self.env.get_avail_actions(), dtype="|u1"),
        }
        listed = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
        return {"arrays": listed}, b"".join(array.tobytes() for array in arrays.values())


def load_smac() -> tuple[Any, dict[str, Any]]:
    """StarCraft2Env, and which SMAC it is.

    Raises:
        Refusal: it cannot be imported; `kind` says why.
    """
    os.environ[PROTOBUF_SWITCH] = "python"
    try:
        import smac
    except ImportError as error:
        raise Refusal("absent" if getattr(error, "name", "") == "smac" else "broken", str(error)) from error
    folders = [str(folder) for folder in getattr(smac, "__path__", [])]
    try:
        from smac.env import StarCraft2Env
    except ImportError as error:
        other = not any(os.path.isdir(os.path.join(folder, "env")) for folder in folders)
        raise Refusal("smac3" if other else "broken", str(error)) from error
    except TypeError as error:
        raise Refusal("protobuf" if "escriptors" in str(error) else "broken", str(error)) from error
    return StarCraft2Env, {
        "smac": str(getattr(smac, "__version__", None) or installed_version("smac")),
        "python": ".".join(map(str, sys.version_info[:3])),
        "folder": folders[0] if folders else "",
    }


def installed_version(package: str) -> str:
    """Version of an installed distribution, "unknown" when there is none or Python is too old to tell."""
    try:
        from importlib import metadata

        return metadata.version(package)
    except ImportError:  # PackageNotFoundError is one too
        return "unknown"


def game_facts(env: Any) -> dict[str, Any]:
    """Version and build of the game that runs now."""
    controller = getattr(env, "_controller", None)
    if controller is None:
        return {"game_version": "unknown", "base_build": 0, "data_version": ""}
    ping = controller.ping()
    return {
        "game_version": str(ping.game_version),
        "base_build": int(ping.base_build),
        "data_version": str(ping.data_version),
    }


def _listen(stream: BinaryIO, requests: queue.Queue[dict[str, Any]]) -> None:
    """Passes requests on; when they end, so does this process, whatever it is doing, and the game below."""
    while True:
        try:
            message = read_frame(stream)
        except Garbage:
            message = None
        if message is None:
            kill_below(os.getpid(), 2.0)
            os._exit(0)
        requests.put(message[0])


def serve() -> None:
    """Answers requests until they end."""
    if hasattr(os, "fork"):
        split()
    stdin, stdout = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # What SMAC and the game print goes to stderr, and nobody but us reads the requests.
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    player = Player()
    requests: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(stdin, requests), daemon=True).start()
    while True:
        request = requests.get()
        try:
            header, payload = player.answer(request)
        except Refusal as refusal:
            header, payload = {"error": refusal.kind, "message": str(refusal)[:500]}, b""
        except Exception as error:
            # Whatever SMAC raises is answered; the other side decides what to do about it.
            said = f"{type(error).__name__}: {error}"
            header, payload = {"error": "exception", "message": said[:500]}, b""
        stdout.write(frame({**header, "id": request.get("id")}, payload))
        stdout.flush()


def probe() -> None:
    """Prints which SMAC this interpreter has, as one line of JSON."""
    try:
        facts = load_smac()[1]
    except Refusal as refusal:
        facts = {"error": refusal.kind, "message": str(refusal)[:500]}
    print(json.dumps(facts))


if __name__ == "__main__":
    # Beside this script lie modules with names of their own, `smac.py` among them: they are not to be found.
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != Path(__file__).resolve().parent]
    if sys.argv[1:] == ["--probe"]:
        probe()
    else:
        serve()
