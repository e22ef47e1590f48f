"""Replays: what it takes to play a battle again, in a small file.

The simulator is seeded, so map, options, seed, episode number and actions give the battle back. A file is

    mast-edge/replay/1 <first 32 hex digits of the SHA-256 of all that follows this line>
    {"map": "3m", "seed": 7, ...}
    actions, packed

with lines ended by one newline. Actions stand step by step, agent by agent, each in as many bits as the
largest action needs, most significant first, padded with zeros to whole bytes. `battle` in the second line is
a digest of every unit and reward of every step: who plays the file back knows that it was the same battle.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.atomic import write_atomically
from mast_edge.envs.base import Step
from mast_edge.envs.options import SmacOptions
from mast_edge.envs.skirmish import SIMULATOR_VERSION, Skirmish
from mast_edge.errors import (
    ArtifactCorrupt,
    ArtifactInconsistent,
    ArtifactMalformed,
    ArtifactSelfTest,
    ArtifactVersion,
    ConfigError,
    MissingInput,
)

SUFFIX = ".replay"
FAMILY, FORMAT = "mast-edge/replay/", "mast-edge/replay/1"
DIGEST_LENGTH = 32
LARGEST_FILE = 1 << 20
LONGEST_HEADER = 4096
MOST_LOOPS = 1_000_000
"""Game loops of a battle that a file may ask for, so that a crafted one cannot keep the machine busy."""
_PLACES = ("game_version", "replay_dir", "replay_prefix", "window_size_x", "window_size_y", "debug")
"""Options without effect on the battle; they may hold paths of the machine and stay out of files."""
_DIGESTED = ("x", "y", "health", "shield", "energy", "cooldown", "alive")
_FIELDS: Mapping[str, type] = {
    "simulator": int,
    "map": str,
    "profile": str,
    "options": dict,
    "seed": int,
    "episode": int,
    "steps": int,
    "battle": str,
}


@dataclass(frozen=True, slots=True)
class Replay:
    """One battle, or its beginning, that can be played again.

    Attributes:
        map_name, profile: what was played; see `Skirmish`.
        options: options that differ from SMAC's defaults.
        seed: of this environment, 0 <= seed < 2**64 (environment b of a batch has seed + b).
        episode: its number in that environment, 0 <= episode < 2**32.
        actions: (T, N) int16.
        battle: digest of all units and rewards, 32 hex digits.
    """

    map_name: str
    profile: str
    options: Mapping[str, Any]
    seed: int
    episode: int
    actions: NDArray[np.int16]
    battle: str

    @classmethod
    def of(cls, env: Skirmish, actions: NDArray[Any], row: int = 0) -> "Replay":
        """The replay of what one environment of a batch has just played.

        Args:
            env: stands where the last of `actions` left it.
            actions: (T, N) whole numbers, all that were played since its last reset; steps of -1 after the
                end (as `runtime.match.Outcomes` has them) are left out.
            row: which environment, 0 <= row < E.

        Raises:
            ValueError: playing them again does not lead to where the environment stands.
        """
        played = np.asarray(actions, dtype=np.int16)
        at = np.flatnonzero((played >= 0).any(axis=-1)) if len(played) else np.zeros(0, np.int64)
        played = np.ascontiguousarray(played[: at[-1] + 1 if len(at) else 0])
        replay = cls(
            map_name=env.spec.map_name,
            profile=env.profile,
            options=_changed(env.options),
            seed=(env.seed + row) % 2**64,
            episode=int(env.stats()["episodes"][row]) - 1,
            actions=played,
            battle="",
        )
        if replay.episode < 0 or len(played) == 0:
            raise ValueError("replay: environment must have played a step; got none. Call reset and step.")
        again, digest = replay.environment(), _Digest()
        again.reset()
        digest.start(again)
        for step in played:
            digest.add(again, again.step(step[None].astype(np.int64)))
        if _vitals(again)[0].tobytes() != _vitals(env)[row].tobytes():
            raise ValueError(
                f"replay: actions must be all those played since the last reset of environment {row}; "
                "got others. Record every step."
            )
        return dataclasses.replace(replay, battle=digest.hex())

    def environment(self) -> Skirmish:
        """A lone environment whose next `reset` begins this battle."""
        env = Skirmish(self.map_name, 1, seed=self.seed, profile=self.profile, **self.options)
        env.begin_at(self.episode)
        return env

    def play(self) -> Iterator[Skirmish]:
        """The battle again: the environment as it starts, then after each step, T + 1 times in all.

        Raises:
            ArtifactSelfTest: an action cannot be played, or it was not the same battle.
        """
        env, digest = self.environment(), _Digest()
        env.reset()
        digest.start(env)
        yield env
        for number, step in enumerate(self.actions):
            try:
                outcome = env.step(step[None].astype(np.int64))
            except ValueError as error:
                raise ArtifactSelfTest(
                    f"replay: step {number} must be playable; got {error} The file holds another battle."
                ) from error
            digest.add(env, outcome)
            yield env
        if digest.hex() != self.battle:
            raise ArtifactSelfTest(
                f"replay: battle must have digest {self.battle}; got {digest.hex()}. "
                "The file holds another battle than it says."
            )

    def verify(self) -> None:
        """Plays it once; raises what `play` raises."""
        for _ in self.play():
            pass

    def to_bytes(self) -> bytes:
        """The whole file."""
        header = {
            "simulator": SIMULATOR_VERSION,
            "map": self.map_name,
            "profile": self.profile,
            "options": dict(self.options),
            "seed": self.seed,
            "episode": self.episode,
            "steps": len(self.actions),
            "battle": self.battle,
        }
        bits = _bits(self.environment().spec.n_actions)
        body = json.dumps(header, separators=(",", ":")).encode() + b"\n" + _pack(self.actions, bits)
        return f"{FORMAT} {_sha256(body)}\n".encode() + body

    @classmethod
    def from_bytes(cls, data: bytes, name: str = "replay") -> "Replay":
        """Inverse of `to_bytes`; does not play the battle.

        Args:
            data: a whole file.
            name: of the file, for messages.

        Raises:
            ArtifactMalformed: not a replay.
            ArtifactVersion: of a format or simulator that this version does not play.
            ArtifactCorrupt: damaged.
            ArtifactInconsistent: header and actions do not fit together or ask for what there is not.
        """
        body = _checked_body(data, name)
        line, _, packed = body.partition(b"\n")
        header = _header(line, name)
        replay = cls(
            map_name=header["map"],
            profile=header["profile"],
            options=header["options"],
            seed=header["seed"],
            episode=header["episode"],
            actions=np.zeros((0, 1), np.int16),
            battle=header["battle"],
        )
        try:
            env = replay.environment()
        except ConfigError as error:
            raise ArtifactInconsistent(f"{name}: replay must ask for what there is; got {error}") from error
        spec, steps = env.spec, header["steps"]
        if not 1 <= steps <= spec.episode_limit or steps * env.options.step_mul > MOST_LOOPS:
            raise ArtifactInconsistent(
                f"{name}: steps must be 1 to {spec.episode_limit}, {MOST_LOOPS:,} loops at most; got {steps}."
            )
        actions = _unpack(packed, steps, spec.n_agents, _bits(spec.n_actions))
        if actions is None:
            raise ArtifactInconsistent(
                f"{name}: {steps} steps of {spec.n_agents} agents must fill it; got {len(packed)} bytes."
            )
        return dataclasses.replace(replay, actions=actions)


def save_replay(path: str | Path, replay: Replay) -> int:
    """Writes a replay, whole or not at all.

    Args:
        path: file to write; its folder must exist.
        replay: such as `Replay.of` gives.

    Returns:
        Size of the file in bytes.

    Raises:
        MastEdgeError: the file system refused.
    """
    data = replay.to_bytes()
    write_atomically(Path(path), data)
    return len(data)


def load_replay(path: str | Path) -> Replay:
    """Reads a replay and plays it once, so that what is returned is known to be the battle it says.

    Raises:
        MissingInput: there is no such file.
        ArtifactRefused: not a replay, damaged, of another version, or not the battle it says it is.
    """
    file = Path(path)
    if not file.is_file():
        raise MissingInput(
            f"replay: file must exist; got no {file}. Run: mast-edge play 3m --save-replay {file.name}"
        )
    with file.open("rb") as opened:
        data = opened.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise ArtifactMalformed(f"{file}: replay must be at most {LARGEST_FILE} bytes; got more.")
    replay = Replay.from_bytes(data, str(file))
    try:
        replay.verify()
    except ArtifactSelfTest as error:
        raise ArtifactSelfTest(f"{file}: {error}") from error
    return replay


class _Digest:
    """Running digest of a battle: the units at the start, then reward, end and units of every step."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def start(self, env: Skirmish) -> None:
        self._hash.update(_vitals(env)[0].tobytes())

    def add(self, env: Skirmish, outcome: Step) -> None:
        ends = (outcome.terminated[0], outcome.timed_out[0], outcome.battle_won[0])
        self._hash.update(np.array([outcome.reward[0], *ends], dtype="<f8").tobytes())
        self._hash.update(_vitals(env)[0].tobytes())

    def hex(self) -> str:
        return self._hash.hexdigest()[:DIGEST_LENGTH]


def _vitals(env: Skirmish) -> NDArray[np.float64]:
    units = env.units()
    return np.stack([units[name].astype("<f8") for name in _DIGESTED], axis=-1)


def _changed(options: SmacOptions) -> dict[str, Any]:
    fields = (field for field in dataclasses.fields(options) if field.name not in _PLACES)
    return {f.name: getattr(options, f.name) for f in fields if getattr(options, f.name) != f.default}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:DIGEST_LENGTH]


def _bits(n_actions: int) -> int:
    return (n_actions - 1).bit_length()


def _pack(actions: NDArray[np.int16], bits: int) -> bytes:
    digits = actions.reshape(-1, 1) >> np.arange(bits - 1, -1, -1) & 1
    return np.packbits(digits.astype(np.uint8)).tobytes()


def _unpack(data: bytes, steps: int, n_agents: int, bits: int) -> NDArray[np.int16] | None:
    """(steps, n_agents), or None when `data` is shorter, longer or not padded with zeros."""
    count = steps * n_agents * bits
    if len(data) != (count + 7) // 8:
        return None
    digits = np.unpackbits(np.frombuffer(data, np.uint8))
    if digits[count:].any():
        return None
    powers = (1 << np.arange(bits - 1, -1, -1)).astype(np.int16)
    actions: NDArray[np.int16] = (digits[:count].reshape(-1, bits) @ powers).astype(np.int16)
    return actions.reshape(steps, n_agents)


def _checked_body(data: bytes, name: str) -> bytes:
    title, newline, body = data.partition(b"\n")
    words = title[:100].split(b" ")
    if not newline or len(words) != 2 or not words[0].startswith(FAMILY.encode()):
        raise ArtifactMalformed(f"{name}: file must begin with '{FORMAT}'; got something else. Not a replay.")
    if words[0] != FORMAT.encode():
        raise ArtifactVersion(
            f"{name}: format must be {FORMAT}; got {words[0].decode('ascii', 'replace')}. "
            "Play it with the version of mast-edge that wrote it."
        )
    if words[1] != _sha256(body).encode():
        raise ArtifactCorrupt(f"{name}: file must have the digest it names; got another. It is damaged.")
    return body


def _header(line: bytes, name: str) -> dict[str, Any]:
    if len(line) > LONGEST_HEADER:
        raise ArtifactMalformed(f"{name}: header must be at most {LONGEST_HEADER} bytes; got {len(line)}.")
    try:
        header = json.loads(line)
    except ValueError as error:
        raise ArtifactMalformed(f"{name}: header must be JSON; got {error}.") from error
    if not isinstance(header, dict):
        raise ArtifactMalformed(f"{name}: header must be a JSON object; got {type(header).__name__}.")
    for field, kind in _FIELDS.items():
        if type(header.get(field)) is not kind:
            got = header.get(field)
            raise ArtifactMalformed(f"{name}: field {field} must be {kind.__name__}; got {got!r}.")
    if header["simulator"] != SIMULATOR_VERSION:
        raise ArtifactVersion(
            f"{name}: simulator must be version {SIMULATOR_VERSION}; got {header['simulator']}. "
            "Play it with the version of mast-edge that wrote it."
        )
    return header
