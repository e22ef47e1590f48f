"""A game small enough to know by heart: two agents, a cue each; who follows the cues wins.

Observation of agent i: the cue (one-hot of 3) and the step / 5. Action 0 is never available; the cue names
one of 1..3. An episode lasts 5 steps; it is won when the team followed at least `8 + seed % 3` of 10 cues.
"""

import numpy as np

from mast_edge.envs.base import Step
from mast_edge.spec import EnvSpec

SPEC = EnvSpec("toy", "toy", n_agents=2, n_actions=4, obs_dim=4, state_dim=1, episode_limit=5)


class ToyBattle:
    """Conforms to BatchEnv."""

    spec = SPEC
    seeded = True

    def __init__(self, n_envs, seed):
        self.n_envs, self.seeds = n_envs, [seed + b for b in range(n_envs)]
        self.obs, self.state = np.zeros((n_envs, 2, 4), np.float32), np.zeros((n_envs, 1), np.float32)
        self.avail = np.tile(np.array([0, 1, 1, 1], np.uint8), (n_envs, 2, 1))
        self.opened = True

    def reset(self, which=None):
        assert which is None
        self.cues = np.stack([np.random.default_rng(s).integers(1, 4, size=(5, 2)) for s in self.seeds])
        self.t, self.followed = np.zeros(self.n_envs, int), np.zeros(self.n_envs, int)
        self._look()

    def _look(self):
        self.obs[:] = 0
        for b, t in enumerate(np.minimum(self.t, 4)):
            for i in range(2):
                self.obs[b, i, self.cues[b, t, i] - 1] = 1.0
                self.obs[b, i, 3] = t / 5

    def step(self, actions, which=None):
        which = np.ones(self.n_envs, bool) if which is None else which
        for b in np.flatnonzero(which):
            for i in range(2):
                if not self.avail[b, i, actions[b, i]]:
                    raise ValueError(f"toy: action must be 1, 2 or 3; got {actions[b, i]}")
            self.followed[b] += int((actions[b] == self.cues[b, self.t[b]]).sum())
            self.t[b] += 1
        over = which & (self.t == 5)
        won = over & (self.followed >= 8 + np.array(self.seeds) % 3)
        self._look()
        zeros = np.zeros(self.n_envs, np.int32)
        return Step(np.where(which, 1.0, 0.0), over, over & ~won, won, zeros, zeros)

    def close(self):
        self.opened = False


class CueTeam:
    """Follows the cue; every `slip`-th episode (by order of play) the first agent gives the wrong answer."""

    def __init__(self, slip=0):
        self.slip, self.played = slip, 0

    def start(self, n_envs):
        self.wrong = np.array([self.slip > 0 and (self.played + b) % self.slip == 0 for b in range(n_envs)])
        self.played += n_envs

    def act(self, obs, avail, playing):
        actions = obs[:, :, :3].argmax(axis=2).astype(np.int64) + 1
        actions[self.wrong, 0] = actions[self.wrong, 0] % 3 + 1
        return actions
