"""The kernels of every instruction set that this CPU has agree with torch."""

import pytest

from mast_edge.spec import EnvSpec
from tests.train.algos.test_reference import OPERATORS
from tests.train.learners.pairs import ALGORITHMS, expect_agreement, make_pair, sparse

ODD = EnvSpec("3m", "toy", n_agents=5, n_actions=11, obs_dim=17, state_dim=9, episode_limit=20)
WIDTHS = {"hidden_dim": 13, "mixer_embed_dim": 7, "hypernet_dim": 12, "central_dim": 21}
LENGTHS = [17, 5, 9, 1, 12, 3, 3, 8, *[4] * 20]


@pytest.mark.parametrize("mask", [(0.0, "element"), (0.5, "4x1"), (0.9, "element"), (0.8, "8x1")], ids=str)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_gradients_agree_with_torch(instruction_set, algorithm, mask) -> None:
    """No width is a multiple of a vector's."""
    pair = make_pair(ODD, algorithm=algorithm, network=WIDTHS, **sparse(*mask))
    expect_agreement(pair, LENGTHS, floor=1e-3)


@pytest.mark.parametrize("target", OPERATORS, ids=lambda t: "-".join(map(str, t.values())))
def test_every_operator_agrees_with_torch(instruction_set, target) -> None:
    expect_agreement(make_pair(algorithm="res", **sparse(0.5, target=target)), LENGTHS)
