"""The keys of an experiment config: types, ranges and defaults (the paper's, at its 2M environment steps).

Source: algorithms.md 3, 7, 8, 11 (paper, Table 5). Fields without a default may be left out of a file where
`config.DERIVED` says what they follow.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from mast_edge.strict_yaml import Path

PAPER_T_MAX = 2_000_000

Count = Annotated[int, msgspec.Meta(ge=1, le=2**40)]
Natural = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
Width = Annotated[int, msgspec.Meta(ge=1, le=4096)]
Episodes = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
BatchSize = Annotated[int, msgspec.Meta(ge=1, le=100_000)]
Steps = Annotated[int, msgspec.Meta(ge=1, le=400_000_000)]
Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]
NonNegative = Annotated[float, msgspec.Meta(ge=0.0)]
Pattern = Literal["element", "4x1", "8x1"]
Operator = Literal["max_double", "max", "softmax", "mellowmax", "soft_mellowmax", "joint_softmax"]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections: immutable, keyword-only, no unknown key."""


class SmacGames(Section, frozen=True, kw_only=True):
    """How games of real StarCraft II are kept (backend `smac`).

    They do not change what is played, so they are no part of a run's identity.

    Attributes:
        python: interpreter in which SMAC is installed; empty: `$MAST_EDGE_SMAC_PYTHON`, else this one.
        launch_timeout: seconds a game may take to start.
        step_timeout: seconds one step may take.
        restart_limit: restarts of one game within an hour.
        backoff: seconds before the first restart; twice as long after each fault in a row, at most 60.
        evaluation_games: games that `evaluate` keeps open; training keeps `rollout.n_envs`.
    """

    python: str = ""
    launch_timeout: Positive = 120.0
    step_timeout: Positive = 30.0
    restart_limit: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 10
    backoff: NonNegative = 1.0
    evaluation_games: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1


class Env(Section, frozen=True, kw_only=True):
    """Which battle.

    Attributes:
        map: SMAC map name.
        backend: a name of registry.ENVIRONMENTS.
        profile: rule set of the simulator.
        options: SMAC environment options, passed on to the backend, which checks them.
        smac: how the games of backend `smac` are started and watched.
    """

    map: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    backend: str = "skirmish"
    profile: Literal["liberty", "void"] = "liberty"
    options: dict[str, bool | int | float | str] = {}
    smac: SmacGames = SmacGames()


class Network(Section, frozen=True, kw_only=True):
    """Widths H, E, E_h, E_c (algorithms.md 11); method tiny trains narrower ones (`mast_edge.widths`)."""

    hidden_dim: Width = 64
    mixer_embed_dim: Width = 32
    hypernet_dim: Width = 64
    central_dim: Width = 256


class Topology(Section, frozen=True, kw_only=True):
    """Masks and their evolution (algorithms.md 7).

    Attributes:
        evolve: drop and grow weights during training. None in a file: by method, and false for tickets.
        growth: score of grown positions. None in a file: by method.
        interval: gradient updates between evolutions.
        drop_fraction: zeta0.
        init_rescale: surviving initial weights times min(3, 1/sqrt(density)) (algorithms.md 14).
        pattern: shape of what is kept or dropped at once. One word is the agent's; a mapping names networks
            (`mixer`), layers (`mixer.hyper_w_1.0`) or layers of the agent (`fc1`), the longer name wins; what
            is not named is `element`.
        ticket: where fixed masks come from (paper section 5.3): empty = this run's own; `random`; a method,
            meaning the finished run of this config with that method; or the name or folder of a finished run.
        ticket_init: initial weights of a ticket: drawn afresh, or those the run of the masks began with.
        snapshots: shares of t_max at which masks are saved (Figures 10 and 14 to 20).
    """

    evolve: bool
    growth: Literal["gradient", "random"]
    interval: Count = 200
    drop_fraction: Fraction = 0.5
    init_rescale: bool = False
    pattern: Pattern | dict[str, Pattern] = "element"
    ticket: Annotated[str, msgspec.Meta(max_length=1024)] = ""
    ticket_init: Literal["fresh", "original"] = "fresh"
    snapshots: tuple[Fraction, ...] = (0.0, 0.25, 0.5, 1.0)


class Target(Section, frozen=True, kw_only=True):
    """Learning target: a value operator and a return rule (algorithms.md 4).

    Attributes:
        operator: value operator. None in a file: by algorithm and method.
        alpha, omega: of soft mellowmax; omega of mellowmax too.
        beta: inverse temperature of softmax and joint_softmax.
        mask_unavailable: unavailable actions are no candidates of joint_softmax (algorithms.md 4.3).
        returns: return rule from `start` on; one_step before. None in a file: by method.
        lambda_: of td_lambda, `lambda` in YAML. None in a file: by algorithm and return rule.
        n_step: n of n_step.
        start: T0, environment steps before which targets are one-step. None in a file: by method, return rule
            and t_max.
        update_interval: gradient updates between copies to the target networks.
    """

    operator: Operator
    alpha: NonNegative = 1.0
    omega: Positive = 10.0
    beta: NonNegative = 5.0
    mask_unavailable: bool = True
    returns: Literal["one_step", "n_step", "td_lambda"]
    lambda_: Fraction = msgspec.field(name="lambda")
    n_step: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 3
    start: Natural
    update_interval: Count = 200


class OwQmix(Section, frozen=True, kw_only=True):
    """alpha: weight of transitions whose q_tot is not below its target (algorithms.md 5)."""

    alpha: Fraction = 0.1


class Res(Section, frozen=True, kw_only=True):
    """penalty: lambda_res, weight of the distance of q_tot to the realised return (algorithms.md 4.3)."""

    penalty: NonNegative = 0.05


class Replay(Section, frozen=True, kw_only=True):
    """Episode buffers (algorithms.md 3.3, 8.2).

    Attributes:
        capacity: episodes in B1. None in a file: follows t_max.
        max_steps: environment steps in B1, against running out of memory; 0 = no bound.
        online_capacity: newest episodes that form B2. None in a file: follows t_max.
        batch_size: episodes per update.
        online_share: episodes of a batch drawn from B2; 0 = single buffer. None in a file: by method.
        dynamic: RLx2's capacity, which shrinks while old episodes are off-policy. None in a file: by method.
        min_capacity: episodes that dynamic capacity keeps. None in a file: a tenth of `capacity`.
        policy_distance: distance above which dynamic capacity discards (D of algorithms.md 8.2).
        check_interval: environment steps between looks at it. None in a file: follows t_max.
        check_episodes: oldest episodes looked at.
        discard: share of the stored episodes discarded at once, the oldest.
    """

    capacity: Episodes
    max_steps: Natural = 0
    online_capacity: Episodes
    batch_size: BatchSize = 32
    online_share: Natural
    dynamic: bool
    min_capacity: Episodes
    policy_distance: Fraction = 0.2
    check_interval: Count
    check_episodes: Episodes = 256
    discard: Fraction = 0.1


class Optim(Section, frozen=True, kw_only=True):
    """RMSprop (algorithms.md 5)."""

    lr: Positive = 5e-4
    alpha: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] = 0.99
    eps: Positive = 1e-5
    clip_norm: Positive = 10.0


class Exploration(Section, frozen=True, kw_only=True):
    """Linear epsilon (algorithms.md 3.2). anneal_steps: environment steps; None in a file: follows t_max."""

    start: Fraction = 1.0
    end: Fraction = 0.05
    anneal_steps: Count


class Rollout(Section, frozen=True, kw_only=True):
    """How playing and learning alternate.

    Attributes:
        n_envs: battles played at once; more make the behaviour policy older (algorithms.md 12).
        updates_per_episode: gradient updates after each finished episode; the paper's ratio is 1.
    """

    n_envs: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 1
    updates_per_episode: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1


class Evaluation(Section, frozen=True, kw_only=True):
    """Greedy episodes on a fixed grid (algorithms.md 9). interval: environment steps; None: follows t_max."""

    interval: Count
    episodes: Episodes = 32


class Checkpoint(Section, frozen=True, kw_only=True):
    """interval_seconds: the most work a crash may cost; keep: newest checkpoints that stay.

    A checkpoint is also made at every evaluation, as long as that takes less than 3 % of the time.
    """

    interval_seconds: NonNegative = 60.0
    keep: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 3


class Log(Section, frozen=True, kw_only=True):
    """Where metrics go beside metrics.jsonl; no part of a run's identity.

    Attributes:
        tensorboard: write event files.
        wandb: project at Weights & Biases to report to; empty: none. It obeys WANDB_MODE.
    """

    tensorboard: bool = True
    wandb: Annotated[str, msgspec.Meta(max_length=128)] = ""


class ExperimentConfig(Section, frozen=True, kw_only=True, dict=True):
    """One experiment, every value filled in. Made by `load_config` or `resolve`, not by hand.

    Attributes:
        algorithm, method: names of registry.ALGORITHMS and registry.SPARSE_METHODS.
        seed: of every random stream of the run.
        t_max: environment steps of training; every schedule left out follows it.
        gamma: discount.
        sparsity: fraction of zeros in the weights of each network, in [0, 1); for method tiny, of the masked
            networks whose parameter counts its dense ones match.
        timeout_is_terminal: an episode cut by the time limit does not bootstrap (algorithms.md 3.1).
    """

    algorithm: str = "qmix"
    method: str = "mast"
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] = 1
    t_max: Steps = PAPER_T_MAX
    gamma: Fraction = 0.99
    sparsity: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)]
    timeout_is_terminal: bool = True
    env: Env
    network: Network = Network()
    topology: Topology
    target: Target
    replay: Replay
    optim: Optim = Optim()
    exploration: Exploration
    rollout: Rollout = Rollout()
    evaluation: Evaluation
    checkpoint: Checkpoint = Checkpoint()
    ow_qmix: OwQmix = OwQmix()
    res: Res = Res()
    log: Log = Log()

    @property
    def origins(self) -> Mapping[Path, str]:
        """Where each value came from. Not part of the value: ignored by ==, hashes and files."""
        return dict(self.__dict__.get("origins_of_values", {}))
