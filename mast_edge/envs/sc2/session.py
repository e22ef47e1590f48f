"""One client's conversation with the stand-in: requests in, responses out, the state between them."""

import json
import secrets
from collections.abc import Callable
from typing import Any

from mast_edge import __version__
from mast_edge.envs.sc2 import facts
from mast_edge.envs.sc2.battle import ApiBattle
from mast_edge.envs.sc2.messages import Messages
from mast_edge.envs.sc2.observation import AGENTS, ObservationWriter
from mast_edge.errors import ConfigError, EnvironmentUnavailable

GAME_VERSION, BUILD = "4.10.0", 75689
"""What the stand-in passes for; the launcher layout carries the same number."""

MAX_LOOPS = 100_000
"""Most loops of one step request."""

LAUNCHED, INIT_GAME, IN_GAME, QUIT = 1, 2, 3, 6
"""Values of the API's Status."""

_ANY = (LAUNCHED, INIT_GAME, IN_GAME)


class _Refused(Exception):
    """The request cannot be answered; the text goes into the response's error list."""


class Session:
    """Answers requests in the order in which they come. Nothing is shared between sessions.

    Attributes:
        ended: the client has asked to quit.

    Source: smac.md 12.
    """

    def __init__(self, messages: Messages, seed: int | None = None, profile: str = "liberty") -> None:
        """Begins without a game.

        Args:
            messages: see `load_messages`.
            seed: of games whose creation names none; None draws one each time.
            profile: unit data, `liberty` or `void`.
        """
        self._messages, self._seed, self._profile = messages, seed, profile
        self._status = LAUNCHED
        self._battle: ApiBattle | None = None
        self._writer: ObservationWriter | None = None
        self.ended = False
        self._handlers: dict[str, tuple[tuple[int, ...], Callable[[Any, Any], None]]] = {
            "ping": (_ANY, self._ping),
            "available_maps": (_ANY, self._available_maps),
            "create_game": ((LAUNCHED, IN_GAME), self._create_game),
            "join_game": ((INIT_GAME,), self._join_game),
            "restart_game": ((IN_GAME,), self._restart_game),
            "leave_game": ((IN_GAME,), self._leave_game),
            "game_info": ((IN_GAME,), self._game_info),
            "data": ((IN_GAME,), self._data),
            "action": ((IN_GAME,), self._action),
            "step": ((IN_GAME,), self._step),
            "debug": ((IN_GAME,), self._debug),
            "save_replay": ((IN_GAME,), self._save_replay),
            "quit": (_ANY, self._quit),
        }

    def answer(self, data: bytes) -> bytes:
        """The serialised response to a serialised request.

        What cannot be read or done is answered with an error and changes nothing.
        """
        api = self._messages.sc2api
        request = api.Request()
        try:
            request.ParseFromString(data)
        except self._messages.decode_errors as error:
            return self._finish(api.Response(), None, f"request must be a protobuf message; got {error}.")
        kind = request.WhichOneof("request")
        if kind == "observation" and self._status == IN_GAME and self._writer is not None:
            self._writer.write()
            return self._finish(self._writer.response, request, None)
        response = api.Response()
        try:
            self._handle(kind, request, response)
        except _Refused as refusal:
            return self._finish(api.Response(), request, str(refusal))
        return self._finish(response, request, None)

    def _handle(self, kind: str | None, request: Any, response: Any) -> None:
        if kind is None:
            raise _Refused("request must hold one of the API's requests; got none.")
        if kind not in self._handlers and kind != "observation":
            raise _Refused(f"{kind}: request must be one the stand-in answers; got one it does not.")
        states = self._handlers[kind][0] if kind in self._handlers else (IN_GAME,)
        if self._status not in states:
            names = self._messages.sc2api.Status
            wanted = " or ".join(names.Name(state) for state in states)
            raise _Refused(f"{kind}: status must be {wanted}; got {names.Name(self._status)}.")
        field = getattr(response, kind)
        field.SetInParent()
        self._handlers[kind][1](getattr(request, kind), field)

    def _finish(self, response: Any, request: Any, error: str | None) -> bytes:
        response.ClearField("id")
        if request is not None and request.HasField("id"):
            response.id = request.id
        if error is not None:
            response.error.append(error)
        response.status = self._status
        serialised: bytes = response.SerializeToString()
        return serialised

    @property
    def _game(self) -> ApiBattle:
        if self._battle is None:
            raise _Refused("game must have been created; got none.")
        return self._battle

    def _ping(self, _request: Any, response: Any) -> None:
        response.game_version = GAME_VERSION
        response.data_version = f"mast-edge {__version__}"
        response.data_build = response.base_build = BUILD

    def _available_maps(self, _request: Any, response: Any) -> None:
        response.local_map_paths.extend(facts.map_paths())

    def _create_game(self, request: Any, response: Any) -> None:
        error = self._creation_error(request)
        if error is None:
            seed = self._seed if self._seed is not None else secrets.randbits(32)
            if request.HasField("random_seed"):
                seed = request.random_seed
            try:
                battle = ApiBattle(facts.map_of(request.local_map.map_path), seed, self._profile)
            except ConfigError as problem:
                error = "InvalidMapPath", str(problem)
            except EnvironmentUnavailable as problem:
                error = "InvalidMapData", str(problem)
        if error is not None:
            response.error = self._messages.sc2api.ResponseCreateGame.Error.Value(error[0])
            response.error_details = error[1]
            return
        self._battle, self._writer = battle, ObservationWriter(self._messages, battle)
        self._status = INIT_GAME

    def _creation_error(self, request: Any) -> tuple[str, str] | None:
        api = self._messages.sc2api
        if not request.HasField("local_map"):
            return "MissingMap", "create_game: local_map must be given; got none."
        if not request.player_setup:
            return "MissingPlayerSetup", "create_game: player_setup must be given; got none."
        kinds = [player.type for player in request.player_setup]
        if kinds.count(api.Participant) > 1:
            return "MultiplayerUnsupported", "create_game: one participant must play; got several."
        if api.Participant not in kinds:
            return "InvalidPlayerSetup", "create_game: one participant must play; got none."
        return None

    def _join_game(self, request: Any, response: Any) -> None:
        errors = self._messages.sc2api.ResponseJoinGame.Error
        if request.WhichOneof("participation") is None:
            response.error = errors.Value("MissingParticipation")
            response.error_details = "join_game: race must be given; got none."
        elif not request.options.raw:
            response.error = errors.Value("MissingOptions")
            response.error_details = "join_game: options.raw must be True; the stand-in draws no pictures."
        else:
            response.player_id = AGENTS
            self._status = IN_GAME

    def _restart_game(self, _request: Any, _response: Any) -> None:
        self._game.respawn()

    def _leave_game(self, _request: Any, _response: Any) -> None:
        self._battle = self._writer = None
        self._status = LAUNCHED

    def _game_info(self, _request: Any, response: Any) -> None:
        facts.write_game_info(self._messages, self._game, response)

    def _data(self, request: Any, response: Any) -> None:
        facts.write_data(self._messages, self._game, request, response)

    def _step(self, request: Any, response: Any) -> None:
        loops = request.count if request.HasField("count") else 1
        if loops > MAX_LOOPS:
            raise _Refused(f"step: count must be at most {MAX_LOOPS}; got {loops}.")
        self._game.advance(loops)
        response.simulation_loop = self._game.game_loop

    def _debug(self, request: Any, _response: Any) -> None:
        kinds = [command.WhichOneof("command") for command in request.debug]
        for kind in kinds:
            if kind not in ("kill_unit", "draw", None):
                raise _Refused(f"debug: command must be kill_unit or draw; got {kind}.")
        for command, kind in zip(request.debug, kinds, strict=True):
            if kind == "kill_unit":
                self._game.kill(list(command.kill_unit.tag))

    def _save_replay(self, _request: Any, response: Any) -> None:
        game = self._game
        note = {
            "format": "mast-edge/sc2-stand-in/1",
            "note": "no StarCraft II replay: the game was played by mast-edge's simulator",
            "map": game.smac.name,
            "seed": game.seed,
            "profile": game.profile,
            "episode": game.episode,
            "game_loop": game.game_loop,
        }
        response.data = json.dumps(note).encode()

    def _quit(self, _request: Any, _response: Any) -> None:
        self._battle = self._writer = None
        self._status = QUIT
        self.ended = True

    def _action(self, request: Any, response: Any) -> None:
        for action in request.actions:
            response.result.append(self._result(action))

    def _result(self, action: Any) -> int:
        result = self._messages.error.ActionResult
        name = "Success"
        if action.HasField("action_raw") and action.action_raw.HasField("unit_command"):
            name = self._command(action.action_raw.unit_command)
        elif action.HasField("action_feature_layer") or action.HasField("action_render"):
            name = "NotSupported"
        return int(result.Value(name))

    def _command(self, command: Any) -> str:
        """Gives an order to units; returns the name of the result."""
        game = self._game
        if command.ability_id not in facts.ABILITIES or command.queue_command:
            return "NotSupported"
        target = None
        if command.ability_id in (facts.ATTACK, facts.HEAL):
            target = game.unit_of(command.target_unit_tag)
            if target is None:
                return "CantTargetThatUnit"
        worst = "Success"
        for tag in command.unit_tags:
            agent = game.unit_of(tag)
            if agent is None or agent >= game.n_agents:
                worst = "Error"
            elif not self._order(agent, command, target):
                worst = "CantTargetThatUnit"
        return worst

    def _order(self, agent: int, command: Any, target: int | None) -> bool:
        game = self._game
        if command.ability_id == facts.STOP:
            game.stop(agent)
            return True
        if command.ability_id == facts.MOVE:
            point = command.target_world_space_pos
            return command.HasField("target_world_space_pos") and game.move(agent, point.x, point.y)
        if target is None:
            return False
        return game.attack(agent, target) if command.ability_id == facts.ATTACK else game.heal(agent, target)
