"""Requests and answers: what the map is like, who stands there, what is refused and how."""

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mast_edge.envs.maps import map_names, smac_map
from mast_edge.envs.sc2.facts import height_bytes, pathing_bytes
from mast_edge.envs.smac_units import FIRST_AGENT_TYPE
from tests.envs.sc2.client import Client, creation


@pytest.mark.parametrize("map_name", ["3m", "corridor", "2c_vs_64zg"])
def test_grids_read_as_smac_reads_them_are_the_maps(map_name: str) -> None:
    smac = smac_map(map_name)
    rows = np.frombuffer(pathing_bytes(smac.walkable), dtype=np.uint8).reshape(32, 4)
    bits = [[byte >> bit & 1 for byte in row for bit in range(7, -1, -1)] for row in rows.tolist()]
    np.testing.assert_array_equal(np.array(bits).T, smac.walkable)
    rows = np.frombuffer(height_bytes(smac.height), dtype=np.uint8).reshape(32, 32)
    np.testing.assert_array_equal(np.flip(rows.T, 1), smac.height)


def test_game_info_over_the_wire(client: Client) -> None:
    client.begin("3m")
    start = client.do(game_info={})["start_raw"]
    assert start["map_size"] == {"x": 32, "y": 32}
    assert start["playable_area"] == {"p0": {"x": 0, "y": 0}, "p1": {"x": 32, "y": 32}}
    assert start["pathing_grid"]["bits_per_pixel"] == 1
    assert base64.b64decode(start["pathing_grid"]["data"]) == b"\x00" * 32 + b"\xff" * 64 + b"\x00" * 32
    assert base64.b64decode(start["terrain_height"]["data"]) == bytes([127]) * 1024


def test_units_of_3m(client: Client) -> None:
    client.begin("3m")
    units = client.units()
    assert [unit["unit_type"] for unit in units] == [FIRST_AGENT_TYPE] * 3 + [48] * 3
    assert [unit["owner"] for unit in units] == [1] * 3 + [2] * 3
    assert [unit["alliance"] for unit in units] == ["Self"] * 3 + ["Enemy"] * 3
    for unit in units:
        assert (unit["health"], unit["health_max"], unit["weapon_cooldown"]) == (45, 45, 0)
        assert "shield_max" not in unit
        assert "energy_max" not in unit
    names = {row["unit_id"]: row["name"] for row in client.do(data={"unit_type_id": True})["units"]}
    assert names == {48: "Marine", FIRST_AGENT_TYPE: "Marine"}


def test_status_follows_the_conversation(client: Client) -> None:
    ping = client.ask(ping={})
    assert ping["status"] == "launched"
    assert ping["ping"]["game_version"] == "4.10.0"
    assert ping["ping"]["base_build"] == 75689
    assert client.ask(create_game=creation("3m"))["status"] == "init_game"
    assert client.ask(join_game={"race": "Terran", "options": {"raw": True}})["status"] == "in_game"
    assert client.ask(step={"count": 1})["status"] == "in_game"
    assert client.ask(create_game=creation("8m"))["status"] == "init_game"
    assert client.ask(join_game={"race": "Terran", "options": {"raw": True}})["status"] == "in_game"
    assert len(client.units()) == 16
    assert client.ask(leave_game={})["status"] == "launched"
    assert client.ask(quit={})["status"] == "quit"
    assert client.ask(ping={}) == {"closed": 1000}


@pytest.mark.parametrize(
    ("request_", "states"),
    [
        ({"step": {"count": 1}}, "in_game"),
        ({"observation": {}}, "in_game"),
        ({"game_info": {}}, "in_game"),
        ({"action": {}}, "in_game"),
        ({"save_replay": {}}, "in_game"),
        ({"join_game": {"race": "Terran"}}, "init_game"),
    ],
)
def test_requests_in_the_wrong_state_are_refused(client: Client, request_: Any, states: str) -> None:
    (kind,) = request_
    answer = client.ask(**request_)
    assert answer["error"] == [f"{kind}: status must be {states}; got launched."]
    assert answer["status"] == "launched"
    assert kind not in answer


def test_what_the_stand_in_cannot_do_is_refused_and_nothing_breaks(client: Client) -> None:
    client.begin("3m")
    before = client.units()
    for request in (
        {"query": {}},
        {"quick_save": {}},
        {"start_replay": {"map_data": ""}},
        {"step": {"count": 2**32 - 1}},
        {"debug": {"debug": [{"kill_unit": {"tag": [before[0]["tag"]]}}, {"end_game": {}}]}},
    ):
        answer = client.ask(**request)
        assert len(answer["error"]) == 1, answer
        assert "must be" in answer["error"][0]
        assert answer["status"] == "in_game"
    assert client.ask()["error"] == ["request must hold one of the API's requests; got none."]
    assert client.units() == before


def test_creation_errors_are_the_apis_own(client: Client) -> None:
    unknown = client.ask(create_game=creation("3n"))["create_game"]
    assert unknown["error"] == "InvalidMapPath"
    assert "got '3n'. Did you mean '3m'?" in unknown["error_details"]
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("MissingMap", creation("3m") | {"local_map": None}),
        ("MissingPlayerSetup", creation("3m") | {"player_setup": []}),
        ("InvalidPlayerSetup", creation("3m") | {"player_setup": [{"type": "Computer"}]}),
        ("MultiplayerUnsupported", creation("3m") | {"player_setup": [{"type": "Participant"}] * 2}),
    ]
    for error, request in wrong:
        answer = client.ask(create_game={key: value for key, value in request.items() if value is not None})
        assert answer["create_game"]["error"] == error
        assert answer["create_game"]["error_details"]
        assert answer["status"] == "launched"
    client.do(create_game=creation("3m"))
    assert client.ask(join_game={})["join_game"]["error"] == "MissingParticipation"
    assert client.ask(join_game={"race": "Terran"})["join_game"]["error"] == "MissingOptions"


def test_orders_that_make_no_sense_are_answered_and_change_nothing(client: Client) -> None:
    client.begin("3m", seed=2)
    tags = [unit["tag"] for unit in client.units()]
    own, enemy = tags[0], tags[3]

    def result(**command: Any) -> str:
        answer = client.do(action={"actions": [{"action_raw": {"unit_command": command}}]})["result"]
        assert len(answer) == 1
        return str(answer[0])

    assert result(ability_id=23, unit_tags=[own], target_unit_tag=enemy) == "Success"
    assert result(ability_id=23, unit_tags=[own], target_unit_tag=tags[1]) == "CantTargetThatUnit"
    assert result(ability_id=23, unit_tags=[own], target_unit_tag="1") == "CantTargetThatUnit"
    assert result(ability_id=23, unit_tags=[own]) == "CantTargetThatUnit"
    assert result(ability_id=386, unit_tags=[own], target_unit_tag=tags[1]) == "CantTargetThatUnit"
    assert result(ability_id=16, unit_tags=[own]) == "CantTargetThatUnit"
    for bad in ("NaN", "Infinity", 1e30):
        target = {"x": bad, "y": 1}
        assert result(ability_id=16, unit_tags=[own], target_world_space_pos=target) == "CantTargetThatUnit"
    assert result(ability_id=99, unit_tags=[own]) == "NotSupported"
    assert result(ability_id=4, unit_tags=[own], queue_command=True) == "NotSupported"
    assert result(ability_id=4, unit_tags=[enemy]) == "Error"
    assert result(ability_id=4, unit_tags=["12345"]) == "Error"
    x = client.units()[0]["pos"]["x"]
    client.do(step={"count": 8})
    assert client.units()[0]["pos"]["x"] > x + 0.5, "the attack order, the only good one, is still in force"


def test_a_chat_message_is_no_order(client: Client) -> None:
    client.begin("3m")
    actions = [{"action_chat": {"message": "hello"}}]
    assert client.do(action={"actions": actions})["result"] == ["Success"]


def test_a_replay_is_bytes_that_say_what_they_are(client: Client) -> None:
    client.begin("3m", seed=9)
    data = base64.b64decode(client.do(save_replay={})["data"])
    assert b"no StarCraft II replay" in data
    assert b'"seed": 9' in data


def test_all_maps_are_listed(client: Client) -> None:
    paths = client.do(available_maps={})["local_map_paths"]
    assert paths == [f"SMAC_Maps/{name}.SC2Map" for name in map_names()]
    assert len(paths) == 23


def test_clients_do_not_see_each_other(connect: Callable[[], Client]) -> None:
    one, two = connect(), connect()
    one.begin("3m", seed=1)
    two.begin("8m", seed=1)
    one.do(step={"count": 8})
    assert two.do(observation={})["observation"]["game_loop"] == 0
    assert (len(one.units()), len(two.units())) == (6, 16)
