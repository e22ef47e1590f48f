"""StarCraft2Env on 3m without a game: agents that shoot win in a few steps.

Faults lie as files `<number>-<moment>-<fault>` in the folder FAKE_SMAC_FAULTS. At a moment (`import`, `init`,
`reset`, `step`) the first that waits for it is taken, once, and happens; FAKE_SMAC_CHANCE of a step is drawn.
FAKE_SMAC_GRANDCHILD=1 starts a process with a session of its own as the game would.
"""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np

FOREVER = 1000
DRAW = random.Random(os.getpid())


def answers():
    """The pipe that carries the worker's answers, found as the damaged game would find it: by trying."""
    for fd in range(3, 64):
        try:
            if os.fstat(fd).st_mode & 0o170000 == 0o010000 and os.readlink(f"/proc/self/fd/{fd}") not in (
                os.readlink("/proc/self/fd/1"),
                os.readlink("/proc/self/fd/2"),
            ):
                os.set_blocking(fd, True)
                os.write(fd, b"")
                return fd
        except OSError:
            continue
    raise RuntimeError("no pipe")


def hold_the_interpreter():
    """A call into C that never returns and lets no other thread run."""
    import ctypes

    ctypes.PyDLL(None).sleep(FOREVER)


def happen(fault, env):
    if fault == "exit":
        os._exit(3)
    elif fault == "sigkill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif fault == "hang":
        time.sleep(FOREVER)
    elif fault == "hold":
        hold_the_interpreter()
    elif fault == "raise":
        raise RuntimeError("Failed to connect to the SC2 websocket")
    elif fault == "noise":
        os.write(answers(), bytes(random.Random(1).randrange(256) for _ in range(500)))
        time.sleep(FOREVER)
    elif fault == "partial":
        os.write(answers(), b"MSW1\x40\x00\x00\x00\x10\x00\x00\x00{")
        time.sleep(FOREVER)
    elif fault == "huge":
        os.write(answers(), b"MSW1\xff\xff\xff\xff\xff\xff\xff\xff")
        time.sleep(FOREVER)
    elif fault == "print":
        print("noise on standard output " * 4000)
        sys.stdout.flush()
        os.write(1, b"MSW1 and more of it\n")
    elif fault == "slow":
        time.sleep(0.2)
    elif fault in ("nan", "inf", "length", "mask", "reward", "connection"):
        env.damage = fault
    else:
        raise AssertionError(fault)


def moment(name, env=None):
    """Takes at most one waiting fault of this moment."""
    folder = os.environ.get("FAKE_SMAC_FAULTS")
    if not folder or (name == "step" and DRAW.random() >= float(os.environ.get("FAKE_SMAC_CHANCE", "1"))):
        return
    for file in sorted(os.listdir(folder)):
        number, wanted, fault = file.split("-")
        if wanted == name and not file.endswith(".done"):
            try:
                os.rename(os.path.join(folder, file), os.path.join(folder, f"{number}-{name}-{fault}.done"))
            except OSError:
                continue
            happen(fault, env)
            return


moment("import")


class Ping:
    game_version, base_build = "4.10", 75689
    data_version = os.environ.get("FAKE_SMAC_DATA", "B89B5D6FA7CBF6452E721311BFBC6CB2")


class Controller:
    def ping(self):
        return Ping()


class StarCraft2Env:
    def __init__(self, map_name="8m", seed=None, obs_timestep_number=False, reward_scale_rate=20, **options):
        self.map_name, self._seed, self.damage = map_name, seed, ""
        self.reward_scale_rate, self.timestep = reward_scale_rate, obs_timestep_number
        self.n_agents, self.n_enemies, self.n_actions, self.episode_limit = 3, 3, 9, 60
        unknown = set(options) - {"continuing_episode", "debug"}
        if unknown:
            raise TypeError(f"__init__() got an unexpected keyword argument '{sorted(unknown)[0]}'")
        self.max_reward = 3 * 10 + 200
        self.timeouts = self.battles_game = self._episode_count = self.launches = 0
        self._controller = None
        moment("init", self)

    def get_env_info(self):
        return {
            "state_shape": 48,
            "obs_shape": 30 + self.timestep,
            "n_actions": 9,
            "n_agents": 3,
            "episode_limit": 60,
        }

    def reset(self):
        if self._controller is None:
            if os.environ.get("FAKE_SMAC_GRANDCHILD"):
                subprocess.Popen(["sleep", str(FOREVER)], start_new_session=True)
            self._controller = Controller()
        moment("reset", self)
        if self._episode_count == 0:
            self.max_reward += 135  # the quirk: again at every reset before the first finished episode
        self.t, self.health = 0, 9
        self.rng = np.random.default_rng([self._seed or 0, self._episode_count])
        self.death_tracker_ally, self.death_tracker_enemy = np.zeros(3), np.zeros(3)
        return self.get_obs(), self.get_state()

    def get_obs(self):
        length = 30 + 2 * self.timestep
        obs = [np.full(length, self.t / 60 + i, np.float64) for i in range(3)]
        for row in obs:
            row[4] = self.health / 9
        if self.damage == "nan":
            obs[1][3] = np.nan
        if self.damage == "inf":
            obs[1][3] = np.inf
        if self.damage == "length":
            obs = [row[:-1] for row in obs]
        return obs

    def get_state(self):
        return np.full(48, self.health / 9, np.float32)

    def get_avail_actions(self):
        if self.damage == "mask":
            return [[0] * 9] * 3
        return [[0, 1, 1, 1, 1, 1, 1, 0, 0]] * 3

    def step(self, actions):
        moment("step", self)
        for i, action in enumerate(actions):
            assert self.get_avail_actions()[i][action] or self.damage == "mask", (i, action)
        if self.damage == "connection":
            self.damage = ""
            return 0, True, {}
        self.t += 1
        self.health -= sum(a == 6 for a in actions) if self.rng.random() < 0.7 else 0
        won = self.health <= 0
        over = won or self.t >= 60
        if over:
            self._episode_count += 1
            self.battles_game += 1
            self.timeouts += not won
        reward = (15.0 + 200 * won) / (self.max_reward / self.reward_scale_rate)
        if self.damage == "reward":
            reward = float("nan")
        self.death_tracker_enemy[:] = won
        return reward, over, {"battle_won": won}

    def close(self):
        pass
