"""Options: names, types, ranges."""

import pytest

from mast_edge.envs.options import SmacOptions
from mast_edge.errors import ConfigError


def test_defaults_are_those_of_smac() -> None:
    options = SmacOptions.of({})
    assert (options.step_mul, options.move_amount, options.reward_scale_rate) == (8, 2.0, 20.0)
    assert options.obs_all_health
    assert options.state_last_action
    assert not options.continuing_episode


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("step_mul", 0, "step_mul must be positive; got 0"),
        ("step_mul", 2**31, "step_mul must be at most 10000; got 2147483648"),
        ("step_mul", 8.0, "step_mul must be a whole number; got 8.0"),
        ("step_mul", True, "step_mul must be a whole number; got True"),
        ("reward_sparse", 1, "reward_sparse must be true or false; got 1"),
        ("reward_win", "200", "reward_win must be a finite number; got '200'"),
        ("reward_win", float("nan"), "reward_win must be a finite number; got nan"),
        ("difficulty", 7, "difficulty must be text; got 7"),
        ("stepmul", 8, "Did you mean 'step_mul'"),
    ],
)
def test_bad_values(name: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SmacOptions.of({name: value})


def test_whole_numbers_do_for_real_ones() -> None:
    assert SmacOptions.of({"reward_win": 100, "game_version": None}).reward_win == 100
