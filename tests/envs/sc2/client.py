"""The stand-in seen from a client: a served process, a relay to it, and a game played through it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.envs.maps import native_interface, smac_map
from mast_edge.envs.options import SmacOptions
from mast_edge.envs.units import unit_types
from mast_edge.native import _core

ROOT = Path(__file__).resolve().parents[3]


def start_server(*arguments: str) -> subprocess.Popen[str]:
    """`mast-edge serve-sc2` on a free port; the address is the first line of its output."""
    return subprocess.Popen(
        [sys.executable, "-m", "mast_edge", "serve-sc2", "--port", "0", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Relay:
    """The process that speaks for the clients."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("relay.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def exchange(self, order: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate(timeout=10)


class Client:
    """One connection. `ask(step={"count": 8})` sends a request and returns the whole response as JSON."""

    def __init__(self, relay: Relay, url: str) -> None:
        self._relay, self._id = relay, 0
        self.exchange(open=url)

    def exchange(self, **order: Any) -> Any:
        return self._relay.exchange({"name": str(id(self)), **order})

    def close(self) -> None:
        self.exchange(close=True)

    def ask(self, **request: Any) -> Any:
        self._id += 1
        response = self.exchange(request={**request, "id": self._id})
        assert response.get("id", self._id) == self._id
        return response

    def do(self, **request: Any) -> Any:
        """As `ask`, for what must succeed; returns the answer itself."""
        response = self.ask(**request)
        assert "error" not in response, response
        (kind,) = request
        assert "error" not in response[kind], response
        return response[kind]

    def begin(self, map_name: str, seed: int | None = None) -> None:
        """Creates and joins a game as SMAC does."""
        seeded = {} if seed is None else {"random_seed": seed}
        self.do(create_game=creation(map_name) | seeded)
        self.do(join_game={"race": "Terran", "options": {"raw": True, "score": False}})

    def units(self) -> list[dict[str, Any]]:
        raw = self.do(observation={})["observation"]["raw_data"]
        units: list[dict[str, Any]] = raw.get("units", [])
        return units

    def kill(self, tags: list[str]) -> None:
        self.do(debug={"debug": [{"kill_unit": {"tag": tags}}]})


def creation(map_name: str) -> dict[str, Any]:
    return {
        "local_map": {"map_path": f"SMAC_Maps/{map_name}.SC2Map", "map_data": "TVBR"},
        "player_setup": [{"type": "Participant"}, {"type": "Computer", "race": "Zerg", "difficulty": "Hard"}],
        "realtime": False,
    }


class SmacView:
    """What SMAC makes of the API's unit lists, by the interface layer that the conformance vectors check."""

    def __init__(self, client: Client, map_name: str) -> None:
        self.client = client
        face = native_interface(smac_map(map_name), SmacOptions(), unit_types())
        self.probe = _core.Probe(face)
        n, k = face.n_agents, face.n_enemies
        self.n_agents = n
        self.obs = np.zeros((n, face.obs_dim), dtype=np.float32)
        self.state = np.zeros(face.state_dim, dtype=np.float32)
        self.avail = np.zeros((n, face.n_actions), dtype=np.uint8)
        self._visible = np.zeros((n, n + k), dtype=np.uint8)
        self._orders = np.zeros((n, 4), dtype=np.float32)

    def reset(self) -> None:
        """Reads a new episode: agents by type and place, enemies as listed (smac.md 2)."""
        listed = self.client.units()
        agents = [unit for unit in listed if unit["owner"] == 1]
        agents.sort(key=lambda unit: (unit["unit_type"], unit["pos"]["x"], unit["pos"]["y"]))
        self.types = [unit["unit_type"] for unit in agents]
        units = agents + [unit for unit in listed if unit["owner"] == 2]
        self.tags = [unit["tag"] for unit in units]
        assert len(set(self.tags)) == len(self._visible[0]) == len(units)
        self._table = np.zeros((len(units), 6), dtype=np.float32)
        self._read(units)
        self.probe.begin(self._table[: self.n_agents], self._table[self.n_agents :])
        self._observe()

    def step(self, actions: NDArray[np.int64]) -> tuple[float, bool, bool, bool, int, int]:
        """Sends the actions as SMAC does; returns the probe's verdict."""
        self.probe.orders(actions, self._orders)
        commands = [self._command(i) for i in range(self.n_agents) if self._orders[i, 0]]
        results = self.client.do(action={"actions": commands}).get("result", [])
        assert results == ["Success"] * len(commands)
        self.client.do(step={"count": 8})
        self._read(self.client.units())
        outcome = self.probe.step(actions, self._table[: self.n_agents], self._table[self.n_agents :])
        self._observe()
        return outcome

    def restart(self) -> None:
        """SMAC's way to the next episode."""
        self.client.kill([tag for tag, row in zip(self.tags, self._table, strict=True) if row[2] > 0])
        self.client.do(step={"count": 2})
        self.reset()

    def _command(self, agent: int) -> dict[str, Any]:
        ability, kind, x, y = self._orders[agent].tolist()
        command: dict[str, Any] = {"ability_id": int(ability), "unit_tags": [self.tags[agent]]}
        if kind == 1:
            command["target_world_space_pos"] = {"x": x, "y": y}
        elif kind:
            command["target_unit_tag"] = self.tags[int(x) + (self.n_agents if kind == 3 else 0)]
        return {"action_raw": {"unit_command": command}}

    def _read(self, units: list[dict[str, Any]]) -> None:
        """The missing are dead: health 0, the rest as it was."""
        seen = {unit["tag"]: unit for unit in units}
        assert set(seen) <= set(self.tags), "a tag appeared in the middle of an episode"
        for row, tag in zip(self._table, self.tags, strict=True):
            if tag not in seen:
                row[2] = 0
                continue
            unit = seen[tag]
            row[:2] = unit["pos"]["x"], unit["pos"]["y"]
            row[2:] = [unit.get(name, 0) for name in ("health", "shield", "energy", "weapon_cooldown")]

    def _observe(self) -> None:
        self.probe.observe(self.obs, self.state, self.avail, self._visible)
