"""What an exported agent promises about its inputs and outputs, and the game it was made for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mast_edge.errors import ArtifactContract, ArtifactInconsistent, ArtifactMalformed, shown
from mast_edge.spec import AgentSpec, EnvSpec

MAX_DIM = 65_536
FEATURE_LAYOUT = 1
"""Version of the observation features (smac.md section 4); a change makes old agents blind."""

_FIXED: dict[str, Any] = {
    "input": ["obs", "last_action", "agent_id"],
    "gates": "rzn",
    "activation": "relu",
    "ties": "lowest",
    "unavailable": "-inf",
}
_SIZES = ("obs_dim", "n_actions", "n_agents", "hidden_dim", "input_dim")


@dataclass(frozen=True, slots=True)
class AgentContract:
    """Sizes of an exported agent and the environment that it plays.

    Attributes:
        spec: sizes; the input is obs, last-action one-hot, agent-id one-hot in that order.
        map_name, env_backend, episode_limit: the game.
    """

    spec: AgentSpec
    map_name: str
    env_backend: str
    episode_limit: int

    @classmethod
    def of(cls, spec: AgentSpec, env: EnvSpec) -> "AgentContract":
        """The contract of an agent trained on `env`."""
        return cls(spec, env.map_name, env.backend, env.episode_limit)

    def contract_json(self) -> dict[str, Any]:
        """The `contract` field of an export's metadata (runtime.md section 3)."""
        return {**_FIXED, **{name: getattr(self.spec, name) for name in _SIZES}}

    def env_json(self) -> dict[str, Any]:
        """The `env` field of an export's metadata."""
        return {
            "map": self.map_name,
            "backend": self.env_backend,
            "episode_limit": self.episode_limit,
            "features": FEATURE_LAYOUT,
        }

    @classmethod
    def from_json(cls, who: str, contract: Any, env: Any) -> "AgentContract":
        """Reads and checks both fields.

        Args:
            who: file name, for messages.
            contract, env: values as parsed from JSON, not trusted.

        Raises:
            ArtifactMalformed: a field is missing, unknown or of another type or constant.
            ArtifactInconsistent: a size is out of range or the sizes do not add up.
        """
        _expect_keys(who, "contract", contract, {*_FIXED, *_SIZES})
        _expect_keys(who, "env", env, {"map", "backend", "episode_limit", "features"})
        for name, value in {**_FIXED, "features": FEATURE_LAYOUT}.items():
            found = env[name] if name == "features" else contract[name]
            if type(found) is not type(value) or found != value:
                raise ArtifactMalformed(f"{who}: {name} must be {value}; got {shown(found)}. Export again.")
        for name in ("map", "backend"):
            if not isinstance(env[name], str) or not 0 < len(env[name]) <= 64:
                raise ArtifactMalformed(
                    f"{who}: env {name} must be a name of 1 to 64 letters; got {shown(env[name])}. "
                    "Export again."
                )
        sizes = {name: contract[name] for name in _SIZES} | {"episode_limit": env["episode_limit"]}
        for name, size in sizes.items():
            if type(size) is not int or not 1 <= size <= MAX_DIM:
                raise ArtifactInconsistent(
                    f"{who}: {name} must be an integer in 1..{MAX_DIM}; got {shown(size)}. Export again."
                )
        spec = AgentSpec(*(sizes[name] for name in _SIZES[:4]))
        if spec.input_dim != sizes["input_dim"]:
            raise ArtifactInconsistent(
                f"{who}: input_dim must be obs_dim + n_actions + n_agents = {spec.input_dim}; "
                f"got {sizes['input_dim']}. Export again."
            )
        return cls(spec, env["map"], env["backend"], env["episode_limit"])

    def require(self, who: str, env: EnvSpec) -> None:
        """Refuses an agent that was made for another game.

        Raises:
            ArtifactContract: map or sizes differ from those of `env`.
        """
        found = (self.map_name, self.spec.obs_dim, self.spec.n_actions, self.spec.n_agents)
        wanted = (env.map_name, env.obs_dim, env.n_actions, env.n_agents)
        if found != wanted:
            raise ArtifactContract(
                f"{who}: map, obs_dim, n_actions, n_agents must be {wanted}; got {found}. "
                "Choose the agent trained on this map."
            )


def _expect_keys(who: str, name: str, found: Any, keys: set[str]) -> None:
    if not isinstance(found, Mapping) or set(found) != keys:
        names = sorted(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
        raise ArtifactMalformed(
            f"{who}: {name} must hold {', '.join(sorted(keys))}; got {shown(names, 200)}. Export again."
        )
