# --- simulator ---
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

def philox(counter: Sequence[int], key0: int, key1: int) -> list[int]:
    """Philox 4x32-10: four words from a counter of four words and a key of two (smac.md 9.1)."""

class UnitKind:
    """What a unit type fixes. Times in loops, speeds and rates per loop (unit.hpp)."""

    health_max: float
    shield_max: float
    armor: float
    energy_start: float
    energy_max: float
    energy_regen: float
    shield_regen: float
    life_regen: float
    shield_delay: int
    speed: float
    radius: float
    separation: float
    air: bool
    structure: bool
    collision_group: int
    attributes: int
    cliff_walk: bool
    weapon: int
    """0 none, 1 instant, 2 missile, 3 beam, 4 suicide."""
    hits_ground: bool
    hits_air: bool
    damage: float
    range: float
    scan: float
    slop: float
    period: float
    bonus: list[float]
    hits: int
    hit_delay: int
    windup: int
    backswing: int
    missile_speed: float
    beam_half_length: float
    beam_half_width: float
    blast_radius: float
    heal_rate: float
    heal_price: float
    heal_range: float
    heal_scan: float
    heal_min_energy: float
    def __init__(self) -> None: ...

class World:
    """What is fixed for all battles of a map: unit kinds, spawn groups, walls, enemies' goal (world.hpp)."""

    kinds: list[UnitKind]
    agent_kind_order: list[int]
    walkable: list[int]
    cliff: list[int]
    goal_kind: int
    """0 point, 1 segment, 2 agents, 3 none."""
    goal: list[list[float]]
    spawn_jitter: bool
    def __init__(self) -> None: ...
    def add_agents(self, kind: int, count: int, x: float, y: float) -> None: ...
    def add_enemies(self, kind: int, count: int, x: float, y: float) -> None: ...

class Interface:
    """What agents see and may do on a map (interface.hpp). `prepare` derives the sizes and max_reward."""

    n_agents: int
    n_enemies: int
    type_bits: int
    ally_shields: bool
    enemy_shields: bool
    medivac_rules: bool
    walkable: list[int]
    height: list[int]
    limit: int
    move_amount: float
    obs_all_health: bool
    obs_own_health: bool
    obs_last_action: bool
    obs_pathing_grid: bool
    obs_terrain_height: bool
    obs_timestep_number: bool
    obs_instead_of_state: bool
    state_last_action: bool
    state_timestep_number: bool
    reward_sparse: bool
    reward_only_positive: bool
    reward_scale: bool
    heuristic_ai: bool
    heuristic_rest: bool
    reward_death_value: float
    reward_win: float
    reward_defeat: float
    reward_negative_scale: float
    reward_scale_rate: float
    @property
    def n_actions(self) -> int: ...
    @property
    def obs_dim(self) -> int: ...
    @property
    def state_dim(self) -> int: ...
    @property
    def max_reward(self) -> float: ...
    def __init__(self) -> None: ...
    def add_unit(
        self, health_max: float, shield_max: float, cooldown_scale: float, type_slot: int, medivac: bool
    ) -> None: ...
    def prepare(self) -> None: ...

class Simulator:
    """A batch of battles. Buffers are C-contiguous and written in place; `which` None means all."""

    def __init__(
        self, world: World, interface: Interface, n_envs: int, seed: int, step_mul: int, threads: int = 1
    ) -> None: ...
    def reset(
        self,
        which: NDArray[np.bool_] | None,
        obs: NDArray[np.float32],
        state: NDArray[np.float32],
        avail: NDArray[np.uint8],
    ) -> None: ...
    def begin_at(self, episode: int) -> None:
        """The next reset of every environment begins this episode, 0 <= episode < 2**32."""

    def step(
        self,
        actions: NDArray[np.int64],
        which: NDArray[np.bool_] | None,
        obs: NDArray[np.float32],
        state: NDArray[np.float32],
        avail: NDArray[np.uint8],
        reward: NDArray[np.float64],
        flags: NDArray[np.bool_],
        dead: NDArray[np.int32],
    ) -> None:
        """flags (3, E): terminated, timed out, won. dead (2, E): agents, enemies.

        With heuristic_ai, `actions` are overwritten by what the agents did instead.
        """

    def refresh(
        self, obs: NDArray[np.float32], state: NDArray[np.float32], avail: NDArray[np.uint8]
    ) -> None: ...
    def save(self, out: NDArray[np.uint8]) -> None: ...
    def restore(self, blocks: NDArray[np.uint8]) -> None: ...
    def restart(self, env: int) -> None:
        """Starts the next episode of one environment, without showing it."""

    def order(self, env: int, agent: int, kind: int, target: int, x: float, y: float) -> None:
        """Orders one agent to stand (0), move to x, y (1), attack unit `target` (2) or heal it (4). Units are
        numbered agents first. What the game would refuse changes nothing."""

    def play_loops(self, env: int, loops: int) -> None:
        """Plays game loops; no step is counted and no episode ends."""

    def kill(self, env: int, unit: int) -> None:
        """A unit dies at once."""

    def visibility(self, out: NDArray[np.uint8]) -> None:
        """(E, N, N + enemies): 1 where the agent sees the unit (smac.md 5)."""

    def units(self, out: NDArray[np.float64]) -> None:
        """(E, units, 12): x, y, health, shield, energy, cooldown, kind, alive, order, target, goal x, y."""

    def counters(self, out: NDArray[np.int64]) -> None:
        """(E, 7): episodes begun, step, loop, over, battles won, battles finished, timeouts."""

    @property
    def interface(self) -> Interface: ...
    @property
    def block_size(self) -> int: ...

class Probe:
    """The interface layer fed with unit tables (rows x, y, health, shield, energy, cooldown)."""

    def __init__(self, interface: Interface) -> None: ...
    def begin(self, allies: NDArray[np.float32], enemies: NDArray[np.float32]) -> None: ...
    def step(
        self, actions: NDArray[np.int64], allies: NDArray[np.float32], enemies: NDArray[np.float32]
    ) -> tuple[float, bool, bool, bool, int, int]:
        """reward, terminated, timed out, won, dead agents, dead enemies."""

    def pose(
        self,
        allies: NDArray[np.float32],
        enemies: NDArray[np.float32],
        last_actions: NDArray[np.int64],
        step: int,
    ) -> None: ...
    def observe(
        self,
        obs: NDArray[np.float32],
        state: NDArray[np.float32],
        avail: NDArray[np.uint8],
        visible: NDArray[np.uint8],
    ) -> None: ...
    def orders(self, actions: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        """(N, 4): ability id, target kind (0 none, 1 point, 2 agent, 3 enemy), x or index, y."""

    @property
    def interface(self) -> Interface: ...
    @property
    def counters(self) -> tuple[int, int, int]:
        """Battles won, battles finished, timeouts."""

# --- agent kernels ---
class AgentModel:
    def __init__(self, obs_dim: int, n_actions: int, n_agents: int, hidden_dim: int) -> None: ...
    def add(
        self,
        name: str,
        values: NDArray[np.float32],
        indices: NDArray[np.uint32],
        indptr: NDArray[np.uint32],
        bias: NDArray[np.float32],
        table: str,
    ) -> None:
        """`table`: dense, csr, 8x1 or 4x1. All give the same bits."""

    def step_many(
        self,
        obs: NDArray[np.float32],
        last_actions: NDArray[np.int64],
        agent_ids: NDArray[np.int64],
        hidden: NDArray[np.float32],
        q: NDArray[np.float32],
    ) -> None: ...
    def layer_many(self, name: str, x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
        """W x + b of one layer by the kernel of a step; x (B, in), for fc1 (B, obs_dim), y (B, out)."""

    def layer_times(
        self, obs: NDArray[np.float32], x: NDArray[np.float32], hidden: NDArray[np.float32]
    ) -> list[float]:
        """Nanoseconds of each layer's product, means over rows: obs (N, O), what gru_ih gets (N, H), hidden
        (N, H). The reading of the clock is part of it."""

    @property
    def work(self) -> dict[str, int]:
        """Operations of all `step_many` and `layer_many` so far: steps, multiply-adds of each layer by name,
        one_hot_adds, relus, activations; counted by the kernels, padding included."""

class AgentCell:
    last_action: int
    agent_id: int
    @property
    def work(self) -> dict[str, int]:
        """As `AgentModel.work`, of this cell's `act` and `peek`."""

    def __init__(self, model: AgentModel, agent_id: int) -> None: ...
    def act(self, obs: object, avail: object, check: bool) -> int: ...
    def peek(self, obs: NDArray[np.float32], q: NDArray[np.float32]) -> None: ...
    def read(self, hidden: NDArray[np.float32], q: NDArray[np.float32]) -> None: ...
    def write(self, hidden: NDArray[np.float32]) -> None: ...
    def reset(self) -> None: ...

def agent_compiler() -> str:
    """Name and version."""

# --- training kernels ---

def gru_forward(
    alive: NDArray[np.int64],
    from_input: NDArray[np.float32],
    w_hh: NDArray[np.float32],
    b_hh: NDArray[np.float32],
    hidden: NDArray[np.float32],
    gates: NDArray[np.float32] | None,
) -> None: ...
def gru_backward(
    alive: NDArray[np.int64],
    w_hh: NDArray[np.float32],
    hidden: NDArray[np.float32],
    gates: NDArray[np.float32],
    d_hidden: NDArray[np.float32],
    d_input: NDArray[np.float32],
    d_recurrent: NDArray[np.float32],
) -> None: ...

# --- training kernels ---

def instruction_sets() -> list[str]:
    """Those of avx512, avx2 and plain that this CPU has, the best one first; plain is always there."""

def kernel_path() -> str:
    """The one in use: at first the best, or what the environment variable MAST_EDGE_KERNELS asks for.

    Raises:
        RuntimeError: it asks for one that this CPU lacks, or that there is not. So does whatever computes.
    """

def use_instruction_set(name: str) -> None:
    """Takes another one, for tests and benchmarks; not while anything computes.

    Raises:
        ValueError: this CPU lacks it, or there is none of that name.
    """

# --- acting during training ---

class BatchActor:
    """E environments by N agents. Buffers are C-contiguous; `which` None means all environments."""

    def __init__(
        self, n_envs: int, n_agents: int, obs_dim: int, n_actions: int, hidden_dim: int
    ) -> None: ...
    def load(
        self,
        fc1_weight: NDArray[np.float32],
        fc1_bias: NDArray[np.float32],
        gru_ih_weight: NDArray[np.float32],
        gru_ih_bias: NDArray[np.float32],
        gru_hh_weight: NDArray[np.float32],
        gru_hh_bias: NDArray[np.float32],
        fc2_weight: NDArray[np.float32],
        fc2_bias: NDArray[np.float32],
    ) -> None: ...
    def reset(self) -> None: ...
    def act(
        self,
        obs: NDArray[np.float32],
        avail: NDArray[np.uint8],
        which: NDArray[np.bool_] | None,
        epsilon: float,
        random: object | None,
        actions: NDArray[np.int64],
    ) -> None:
        """random: `bit_generator.capsule` of a numpy generator, whose lock the caller holds; None is greedy.

        actions (E, N): written for the marked environments.
        """

    def read_q(self, q: NDArray[np.float32]) -> None:
        """(E, N, A): Q of each environment's last step."""

def play_episodes(
    simulator: Simulator,
    actor: BatchActor,
    epsilon: float,
    random: object | None,
    shown: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]],
    record: tuple[
        NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]
    ],
    length: NDArray[np.int64],
    ends: NDArray[np.bool_],
    played: NDArray[np.int64],
) -> tuple[float, float]:
    """Plays every battle, just reset, to its end; returns seconds in the simulator and in choosing actions.

    random: as in `BatchActor.act`. shown: obs, state and avail of the environment, kept up to date.
    record: obs, state, avail, actions and reward, (more rows than the limit, E, ...); row t is time t.
    length (E,): transitions. ends (2, E): timed out, won. played (E, N): what the agents did last.
    """

# --- the sparse learner ---

class Workers:
    """Threads that share the panels of an update; results do not depend on their number."""

    def __init__(self, threads: int) -> None: ...

class PanelBatch:
    """Ragged episodes as panels of 64 columns. R row panels hold the rows (time, episode) of the mixers.

    Arrays are C-contiguous and written in place. Episodes are read by address: they must outlive the use.
    """

    def __init__(self, n_agents: int, n_actions: int, obs_dim: int, state_dim: int) -> None: ...
    def load(
        self,
        episodes: Sequence[
            tuple[
                NDArray[np.float32],
                NDArray[np.float32],
                NDArray[np.uint8],
                NDArray[np.uint8],
                NDArray[np.float32],
                bool,
            ]
        ],
    ) -> None:
        """obs, state, avail, actions and reward of `Episode`, and whether nothing follows its last state."""

    @property
    def n_agents(self) -> int: ...
    @property
    def n_actions(self) -> int: ...
    @property
    def transitions(self) -> int:
        """M: rows without the last one of each episode."""

    @property
    def panels(self) -> list[tuple[int, int, int, int]]:
        """First step, steps, first episode (in `order`) and episodes of each agent panel."""

    @property
    def rows(self) -> int: ...
    @property
    def row_panels(self) -> int:
        """R."""

    @property
    def steps(self) -> int:
        """Of all agent panels together."""

    @property
    def vectors(self) -> list[int]:
        """(steps) of 16 columns that hold a running episode."""

    @property
    def order(self) -> list[int]:
        """Episodes as they were given, longest first."""

    @property
    def offsets(self) -> list[int]:
        """(T + 2) first row of each time; the last entry is the number of rows."""

    def taken(self, agent: AgentNetwork, out: NDArray[np.float32]) -> None:
        """out (R, N, 64): utilities of the actions that were taken, 0 elsewhere."""

    def to_rows(self, values: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """(steps, 64) to (R, N, 64)."""

    def actions_to_rows(self, agent: AgentNetwork, out: NDArray[np.float32]) -> None:
        """out (R, N * A, 64): all utilities."""

    def avail_to_rows(self, out: NDArray[np.uint8]) -> None:
        """out (R, N * A, 64)."""

    def mask(self, out: NDArray[np.float32]) -> None:
        """out (rows): 1 where a transition begins."""

    def n_step(
        self, values: NDArray[np.float32], n: int, gamma: float, out: NDArray[np.float32]
    ) -> None:
        """values, out (rows); 0 where no transition begins."""

    def td_lambda(
        self, values: NDArray[np.float32], gamma: float, lambda_: float, out: NDArray[np.float32]
    ) -> None: ...
    def realised(self, gamma: float, out: NDArray[np.float32]) -> None:
        """out (rows): discounted rewards of the rest of each episode."""

class Network:
    """Layers in the order of `mast_edge.spec`: (out, in, first weight, first bias) in a flat array."""

    def set_mask(self, layer: int, mask: NDArray[np.uint8] | None, heights: Sequence[int]) -> None:
        """mask (out, in) of 0 and 1, None = dense; heights: rows of each group of blocks, or [] = rows."""

    def refresh(self, flat: NDArray[np.float32]) -> None:
        """Takes over the values of the kept weights and the biases."""

    @property
    def kept(self) -> list[int]:
        """Weights of each layer."""

class AgentNetwork(Network):
    def __init__(self, shapes: Sequence[tuple[int, int, int, int]], threads: Workers) -> None: ...
    def backward(
        self, batch: PanelBatch, d_taken: NDArray[np.float32], every: bool, grad: NDArray[np.float32]
    ) -> None:
        """d_taken (R, N, 64). Adds to `grad`, with `every` also at weights that are not kept."""

    def finite(self, batch: PanelBatch) -> bool:
        """Whether all utilities of the last forward pass are."""

    def dead_units(self, batch: PanelBatch) -> int:
        """Units of the first layer that are zero in every row."""

class MixerNetwork(Network):
    def __init__(
        self, shapes: Sequence[tuple[int, int, int, int]], agents: int, threads: Workers
    ) -> None: ...
    def forward(
        self, batch: PanelBatch, q: NDArray[np.float32], q_tot: NDArray[np.float32], keep: bool
    ) -> None:
        """q (R, N, 64) -> q_tot (R * 64). keep: `backward` follows."""

    def backward(
        self,
        batch: PanelBatch,
        q: NDArray[np.float32],
        d_q_tot: NDArray[np.float32],
        d_q: NDArray[np.float32],
        every: bool,
        grad: NDArray[np.float32],
    ) -> None:
        """After `forward` with `q`: writes d_q (R, N, 64), adds to `grad`."""

    def alternatives(
        self,
        batch: PanelBatch,
        chosen: NDArray[np.float32],
        q: NDArray[np.float32],
        out: NDArray[np.float32],
    ) -> None:
        """After `forward` with `chosen`: q_tot with one agent's utility replaced; q, out (R, N * A, 64)."""

class CentralNetwork(Network):
    def __init__(
        self, shapes: Sequence[tuple[int, int, int, int]], agents: int, threads: Workers
    ) -> None: ...
    def forward(self, batch: PanelBatch, q: NDArray[np.float32], q_star: NDArray[np.float32]) -> None:
        """q (R, N, 64) -> q_star (R * 64)."""

    def backward(
        self,
        batch: PanelBatch,
        q: NDArray[np.float32],
        d_q_star: NDArray[np.float32],
        d_q: NDArray[np.float32],
        every: bool,
        grad: NDArray[np.float32],
    ) -> None:
        """After `forward` with `q`: writes d_q (R, N, 64), adds to `grad`."""

def forward_agents(batch: PanelBatch, networks: Sequence[tuple[AgentNetwork, bool]]) -> None:
    """Utilities of all steps of several networks; True: keeps what `backward` needs."""

def agent_values(
    batch: PanelBatch,
    operator: str,
    online: AgentNetwork | None,
    target: AgentNetwork,
    first: float,
    second: float,
    out: NDArray[np.float32],
) -> None:
    """out (R, N, 64): one value per agent, by max_double, max, softmax (first = beta) or soft_mellowmax
    (first = alpha, second = omega)."""

def greedy_actions(batch: PanelBatch, agent: AgentNetwork, out: NDArray[np.int32]) -> None:
    """out (steps, 64): best available action of each column."""

class LayerProbe:
    """One layer on full panels of ones, for benchmarks; each call works on `panels` of them."""

    def __init__(
        self, out: int, in_: int, mask: NDArray[np.uint8] | None, heights: Sequence[int]
    ) -> None: ...
    def forward(self, panels: int) -> None: ...
    def backward(self, panels: int) -> None: ...
    def gradient(self, panels: int) -> None: ...

def softmax_mean(
    batch: PanelBatch,
    score: NDArray[np.float32],
    values: NDArray[np.float32],
    avail: NDArray[np.uint8] | None,
    beta: float,
    out: NDArray[np.float32],
) -> None:
    """out (R * 64): mean of `values` weighted by softmax(beta * score), all (R, N * A, 64)."""

def all_finite(x: NDArray[np.float32]) -> bool: ...
def norm(x: NDArray[np.float32]) -> float:
    """Euclidean, summed in double precision."""

def rmsprop(
    weights: NDArray[np.float32],
    gradient: NDArray[np.float32],
    square_avg: NDArray[np.float32],
    scale: float,
    lr: float,
    alpha: float,
    eps: float,
) -> None:
    """One step with `scale` times the gradient; moves weights and square_avg."""
