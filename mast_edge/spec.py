"""Sizes that everything else is built from.

Dimension letters used throughout the package: B episodes in a batch, T transitions, N agents, A actions per
agent, O observation length, S state length, H hidden width, E parallel environments.
"""

from dataclasses import dataclass

LAYERS = ("fc1", "gru_ih", "gru_hh", "fc2")
"""Weight matrices of an agent, in order of use; each has a bias of its output length (algorithms.md 2.1)."""


@dataclass(frozen=True, slots=True)
class EnvSpec:
    """What an environment shows and accepts (smac.md, section 2-6)."""

    map_name: str
    backend: str
    n_agents: int
    n_actions: int
    obs_dim: int
    state_dim: int
    episode_limit: int


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """Shape of the recurrent agent; its input is obs, last-action one-hot, agent-id one-hot, in that order.

    Source: algorithms.md 2.1 (PyMARL's rnn_agent).
    """

    obs_dim: int
    n_actions: int
    n_agents: int
    hidden_dim: int = 64

    @property
    def input_dim(self) -> int:
        """F = O + A + N."""
        return self.obs_dim + self.n_actions + self.n_agents

    def layer_shapes(self) -> dict[str, tuple[int, int]]:
        """Layer name -> (out, in). The GRU stacks its gates r, z, n along `out`."""
        h = self.hidden_dim
        return {
            "fc1": (h, self.input_dim),
            "gru_ih": (3 * h, h),
            "gru_hh": (3 * h, h),
            "fc2": (self.n_actions, h),
        }

    @classmethod
    def of(cls, env: EnvSpec, hidden_dim: int = 64) -> "AgentSpec":
        """The agent that plays `env`."""
        return cls(env.obs_dim, env.n_actions, env.n_agents, hidden_dim)


def mixer_shapes(
    n_agents: int, state_dim: int, embed_dim: int, hypernet_dim: int
) -> dict[str, tuple[int, int]]:
    """QMIX mixer matrices, name -> (out, in) (algorithms.md 2.2)."""
    return {
        "hyper_w_1.0": (hypernet_dim, state_dim),
        "hyper_w_1.2": (n_agents * embed_dim, hypernet_dim),
        "hyper_w_final.0": (hypernet_dim, state_dim),
        "hyper_w_final.2": (embed_dim, hypernet_dim),
        "hyper_b_1": (embed_dim, state_dim),
        "V.0": (embed_dim, state_dim),
        "V.2": (1, embed_dim),
    }


def central_mixer_shapes(n_agents: int, state_dim: int, central_dim: int) -> dict[str, tuple[int, int]]:
    """OW-QMIX's unrestricted mixer, name -> (out, in) (algorithms.md 2.3)."""
    return {
        "net.0": (central_dim, state_dim + n_agents),
        "net.2": (central_dim, central_dim),
        "net.4": (central_dim, central_dim),
        "net.6": (1, central_dim),
        "V.0": (central_dim, state_dim),
        "V.2": (1, central_dim),
    }
