"""How much memory a config may come to need, and refusing what cannot fit before anything is written.

Source: training_speed.md 5, "Replay memory"; parity_and_safety.md 6, "out of memory".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mast_edge.config_fields import ExperimentConfig
from mast_edge.errors import ConfigError
from mast_edge.spec import EnvSpec

FLOATS_PER_HIDDEN = 16
"""Floats per hidden unit, agent and row that an update holds at its peak: the gates of the forward pass (4),
gradients of both GRU products (6), and inputs, hidden states and copies of them. Measured (tests)."""
FLOATS_PER_ACTION = 5
FLOATS_PER_MIXED = 4
"""Of the mixer, per agent and unit of its embedding."""
FLOATS_PER_STATE_UNIT = 5
"""Of layers that read the state, per unit."""
UNROLLED_AGENTS = {"ow_qmix": 2}
"""Agent networks that an algorithm unrolls with gradient; one where it is not named."""
FLAT_BUFFERS = 5
"""Weights, their target copy, gradient, squared gradient, mask."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that training may come to hold at once, on top of what the process holds already.

    Attributes:
        spec: sizes of the environment.
        capacity: episodes in the replay.
        kept: episodes of them that stay whatever `max_steps` says.
        max_steps: environment steps in the replay; 0 = no bound.
        replay: full of episodes as long as the environment allows.
        batch: one update on the longest episodes.
        playing: episodes being played, and those of the last evaluation.
        networks: parameters and their optimiser.
        limit: bytes available now; None where that is not known.
        origin: where `replay.capacity` was written.
    """

    spec: EnvSpec
    capacity: int
    kept: int
    max_steps: int
    replay: int
    batch: int
    playing: int
    networks: int
    limit: int | None
    origin: str

    @property
    def total(self) -> int:
        """All parts together."""
        return self.replay + self.batch + self.playing + self.networks


def estimate(config: ExperimentConfig, spec: EnvSpec, parameters: int) -> Memory:
    """What a run may need in the worst case, without its checkpoints' copies of new episodes.

    Args:
        config: resolved experiment.
        spec: sizes of its environment.
        parameters: of all trained networks together.
    """
    replay, rows = config.replay, spec.episode_limit + 1
    playing = 2 * max(config.rollout.n_envs, config.evaluation.episodes)  # step by step, then joined
    playing += config.evaluation.episodes  # of the evaluation before
    return Memory(
        spec=spec,
        capacity=replay.capacity,
        kept=min(replay.batch_size, replay.capacity),
        max_steps=replay.max_steps,
        replay=_worst_replay(
            spec, replay.capacity, min(replay.batch_size, replay.capacity), replay.max_steps
        ),
        batch=replay.batch_size * rows * _update_bytes_per_row(config, spec),
        playing=replay_bytes(spec, playing, playing * spec.episode_limit),
        networks=FLAT_BUFFERS * 4 * parameters,
        limit=available(),
        origin=config.origins.get(("replay", "capacity"), ""),
    )


def replay_bytes_per_step(spec: EnvSpec) -> int:
    """Bytes of one step of a stored episode: obs and state float32, the rest uint8, reward float32."""
    return _row_bytes(spec) + _transition_bytes(spec)


def replay_bytes(spec: EnvSpec, episodes: int, steps: int) -> int:
    """Bytes of episodes with `steps` transitions in all; each also stores what followed its last one."""
    return (steps + episodes) * _row_bytes(spec) + steps * _transition_bytes(spec)


def _row_bytes(spec: EnvSpec) -> int:
    return 4 * spec.n_agents * spec.obs_dim + 4 * spec.state_dim + spec.n_agents * spec.n_actions


def _transition_bytes(spec: EnvSpec) -> int:
    return spec.n_agents + 4


def _worst_replay(spec: EnvSpec, capacity: int, kept: int, max_steps: int) -> int:
    """Bytes of the fullest replay; bounded by steps it is fullest with many short episodes."""
    steps = capacity * spec.episode_limit
    if max_steps:
        steps = min(steps, max(max_steps, kept * spec.episode_limit))
    return replay_bytes(spec, min(capacity, steps), steps)


def _update_bytes_per_row(config: ExperimentConfig, spec: EnvSpec) -> int:
    """Bytes of an update per row of the batch: packed inputs, state and avail; activations and gradients.

    4 N F + 4 S + N A  +  4 (a N (16 H + 5 A) + 4 N E + 5 (2 E_h + 2 E) + [a = 2] 5 E_c), a being how many
    agent networks are unrolled with gradient. The factors are measured: they come within 10 % of the peak of
    a QMIX update at the episode limit on 3m, 2s3z, 3s5z, 2c_vs_64zg and 27m_vs_30m, and lie above OW-QMIX's.
    """
    net, n, a = config.network, spec.n_agents, spec.n_actions
    inputs = spec.obs_dim + a + n
    agents = UNROLLED_AGENTS.get(config.algorithm, 1)
    floats = agents * n * (FLOATS_PER_HIDDEN * net.hidden_dim + FLOATS_PER_ACTION * a)
    floats += FLOATS_PER_MIXED * n * net.mixer_embed_dim
    from_state = 2 * net.hypernet_dim + 2 * net.mixer_embed_dim + (net.central_dim if agents > 1 else 0)
    floats += FLOATS_PER_STATE_UNIT * from_state
    return 4 * (n * inputs + spec.state_dim + floats) + n * a


def fitting_steps(memory: Memory) -> int:
    """The largest `replay.max_steps` with which everything fits; 0 where none does or no limit is known."""
    if memory.limit is None:
        return 0
    spec, room = memory.spec, memory.limit - (memory.total - memory.replay)
    first = _row_bytes(spec)  # an episode's extra row
    steps = (room - memory.capacity * first) // replay_bytes_per_step(spec)
    if steps < memory.capacity:
        steps = room // (first + replay_bytes_per_step(spec))
    return steps if steps >= memory.kept * spec.episode_limit else 0


def check(memory: Memory) -> None:
    """Refuses what cannot fit.

    Raises:
        ConfigError: more may be needed than is available; the message names a setting that fits.
    """
    if memory.limit is None or memory.total <= memory.limit:
        return
    spec, steps = memory.spec, fitting_steps(memory)
    parts = (
        f"{human(memory.replay)} of replay, {human(memory.batch)} per update, {human(memory.playing)} of "
        f"battles, {human(memory.networks)} of networks, with {human(memory.limit)} available"
    )
    if steps:
        who = "train" if memory.origin in ("", "derived", "default") else memory.origin
        room = memory.limit - (memory.total - memory.replay)
        episodes = room // replay_bytes(spec, 1, spec.episode_limit)
        raise ConfigError(
            f"{who}: replay.capacity must fit in memory; got {memory.capacity} episodes of up to "
            f"{spec.episode_limit} steps, {parts}. Set replay.max_steps={steps}, or "
            f"replay.capacity={min(episodes, memory.capacity)}."
        )
    raise ConfigError(
        f"train: memory must be enough even for the smallest replay; got {parts}. Lower {_largest(memory)}."
    )


def _largest(memory: Memory) -> str:
    smallest = replay_bytes(memory.spec, memory.kept, memory.kept * memory.spec.episode_limit)
    sizes = {
        "replay.batch_size": memory.batch + smallest,
        "evaluation.episodes and rollout.n_envs": memory.playing,
        "network.hidden_dim": memory.networks,
    }
    return max(sizes, key=lambda name: sizes[name])


def describe(memory: Memory) -> str:
    """One line for people."""
    spec = memory.spec
    most = memory.capacity * spec.episode_limit
    held = f"{memory.capacity} episodes of {spec.episode_limit} steps"
    if 0 < memory.max_steps < most:
        held = f"{max(memory.max_steps, memory.kept * spec.episode_limit)} steps"
    known = "available: unknown" if memory.limit is None else f"available {human(memory.limit)}"
    return (
        f"memory: replay up to {human(memory.replay)} ({held}), update {human(memory.batch)}, battles "
        f"{human(memory.playing)}, networks {human(memory.networks)}; {known}"
    )


def human(size: int) -> str:
    """`1.42 GB`: bytes with three digits in decimal units."""
    value, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.0f} {units[0]}" if value >= 99.5 else f"{value:.3g} {units[0]}"


def available(root: Path = Path("/")) -> int | None:
    """Bytes that this process can still take: the least of what machine, control groups and rlimit leave.

    Args:
        root: where /proc and /sys are looked up.

    Returns:
        None where nothing is known (no Linux).
    """
    known = [*_free(root), *_control_groups(root), *_address_space(root)]
    return max(0, min(known)) if known else None


def _free(root: Path) -> Iterator[int]:
    """MemAvailable of the machine."""
    kilobytes = _field(root / "proc/meminfo", "MemAvailable:")
    if kilobytes is not None:
        yield 1024 * kilobytes


def _control_groups(root: Path) -> Iterator[int]:
    """What the process's memory control group and each one above it leave; file caches give way."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    mounted = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            for mount in (mounted, mounted / "unified"):
                yield from _left(mount, path, "memory.max", "memory.current", "")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
            yield from _left(mounted / "memory", path, *names)


def _left(mount: Path, path: str, limit_file: str, usage_file: str, prefix: str) -> Iterator[int]:
    group = mount / path.lstrip("/")
    for folder in (group, *group.parents):
        limit, used = _number(folder / limit_file), _number(folder / usage_file)
        if limit is not None and used is not None:
            cache = (
                _field(folder / "memory.stat", f"{prefix}{kind}_file") for kind in ("inactive", "active")
            )
            yield limit - max(0, used - sum(size or 0 for size in cache))
        if folder == mount:
            return


def _address_space(root: Path) -> Iterator[int]:
    """RLIMIT_AS less the address space in use."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = _number(root / "proc/self/statm")
    if limit != resource.RLIM_INFINITY and pages is not None:
        yield limit - pages * resource.getpagesize()


def _number(path: Path) -> int | None:
    """The number that a file begins with; None where there is none (`max`)."""
    try:
        return int(path.read_text(encoding="utf-8").split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _field(path: Path, name: str) -> int | None:
    """The number after a name in a file of one name per line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = (line.split() for line in lines)
    return next((int(words[1]) for words in found if len(words) > 1 and words[0] == name), None)
