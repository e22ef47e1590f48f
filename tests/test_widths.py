"""Widths of method tiny against the table of algorithms.md 8.1, and its limits."""

import pytest

from mast_edge import accounting
from mast_edge.accounting import Model
from mast_edge.config import resolve
from mast_edge.errors import ConfigError
from mast_edge.spec import EnvSpec
from mast_edge.widths import Widths, network_widths, parameter_limit

ENVS = {  # accounting.md section 2
    "3m": EnvSpec("3m", "skirmish", 3, 9, 30, 48, 60),
    "2s3z": EnvSpec("2s3z", "skirmish", 5, 11, 80, 120, 120),
    "3s5z": EnvSpec("3s5z", "skirmish", 8, 14, 128, 216, 150),
    "2c_vs_64zg": EnvSpec("2c_vs_64zg", "skirmish", 2, 70, 332, 342, 400),
}
FULL = Widths(64, 32, 64, 256)


def config(algorithm="qmix", method="tiny", sparsity=0.95, **network):
    return resolve(
        {
            "algorithm": algorithm,
            "method": method,
            "sparsity": sparsity,
            "env": {"map": "3m"},
            "network": network,
        }
    )


def parameters(shapes):
    return accounting.weights(shapes) + accounting.biases(shapes)


@pytest.mark.parametrize(
    ("algorithm", "map_name", "sparsity", "agent", "mixer", "cmixer"),
    [  # limit, width, parameters; limit, (E, E_h), parameters; limit, E_c, parameters
        ("qmix", "3m", 0.95, (1851, 13, 1777), (1193, (3, 8), 1190), None),
        ("qmix", "2s3z", 0.95, (2032, 11, 1991), (2153, (2, 6), 2023), None),
        ("qmix", "3s5z", 0.90, (3971, 15, 3929), (6476, (4, 9), 6007), None),
        ("qmix", "2c_vs_64zg", 0.90, (6010, 10, 5480), (7476, (3, 7), 6936), None),
        ("ow_qmix", "3m", 0.90, (3244, 18, 2997), (2066, (5, 13), 2050), (16720, 68, 16390)),
        ("ow_qmix", "2s3z", 0.90, (3603, 16, 3371), (3923, (4, 11), 3923), (20459, 56, 20330)),
        ("ow_qmix", "3s5z", 0.90, (3971, 15, 3929), (6476, (4, 9), 6007), (25451, 47, 25382)),
        ("ow_qmix", "2c_vs_64zg", 0.90, (6010, 10, 5480), (7476, (3, 7), 6936), (31747, 41, 31736)),
        ("res", "3m", 0.95, (1851, 13, 1777), (1193, (3, 8), 1190), None),
        ("res", "2s3z", 0.90, (3603, 16, 3371), (3923, (4, 11), 3923), None),
        ("res", "3s5z", 0.85, (5726, 19, 5429), (9476, (6, 13), 9009), None),
        ("res", "2c_vs_64zg", 0.85, (8756, 15, 8635), (11069, (5, 10), 10461), None),
    ],
)
def test_the_table_of_tiny_widths(algorithm, map_name, sparsity, agent, mixer, cmixer):
    env = ENVS[map_name]
    full = Model.of(algorithm, env, FULL).networks()
    limits = {name: parameter_limit(shapes, sparsity) for name, shapes in full.items()}
    found = network_widths(config(algorithm, sparsity=sparsity), env)
    counts = {name: parameters(shapes) for name, shapes in Model.of(algorithm, env, found).networks().items()}
    assert (limits["agent"], found.hidden_dim, counts["agent"]) == agent
    assert (limits["mixer"], (found.mixer_embed_dim, found.hypernet_dim), counts["mixer"]) == mixer
    if cmixer is None:
        assert found.central_dim == 256
        assert set(counts) == {"agent", "mixer"}
    else:
        assert (limits["cmixer"], found.central_dim, counts["cmixer"]) == cmixer
        assert (limits["cagent"], counts["cagent"]) == (agent[0], agent[2])


def test_vdn_narrows_the_agent_alone():
    assert network_widths(config("vdn"), ENVS["3m"]) == Widths(13, 32, 64, 256)


@pytest.mark.parametrize(
    ("method", "sparsity"),
    [("dense", 0.0), ("mast", 0.95), ("rigl", 0.95), ("ss", 0.9), ("tiny", 0.0)],
)
def test_everything_else_keeps_the_widths_of_the_config(method, sparsity):
    chosen = config("ow_qmix", method, sparsity, hidden_dim=48, mixer_embed_dim=16, central_dim=100)
    assert network_widths(chosen, ENVS["3m"]) == Widths(48, 16, 64, 100)


def test_tiny_is_matched_to_the_configs_own_widths():
    """At H 8 on 3m the agent has 336 + 192 + 192 + 72 = 792 weights and 65 biases.

    At 50 % eps = 396 / (50 + 32 + 32 + 17) = 3.0229, so 152 + 97 + 97 + 52 stay, each rounded up; with the
    biases 463. H 5 needs 210 + 75 + 75 + 45 + 44 = 449, H 6 needs 252 + 108 + 108 + 54 + 51 = 573.
    """
    small = config("vdn", sparsity=0.5, hidden_dim=8)
    env = ENVS["3m"]
    assert parameter_limit(Model.of("vdn", env, small.network).networks()["agent"], 0.5) == 463
    assert network_widths(small, env).hidden_dim == 5


def test_a_sparsity_at_which_width_1_does_not_fit_is_a_config_error():
    """E 1, E_h 2 on 2s3z: 240 + 10 + 240 + 2 + 120 + 120 + 1 = 733 weights and 13 biases.

    Allowed are 35.36 / 1025 times 184, 224, 184, 96, 152, 152 and 33, rounded up to 40, and 385 biases.
    """
    with pytest.raises(
        ConfigError,
        match=r"^tiny: sparsity must be low enough for a mixer of width 1; got 0\.999, which allows it "
        r"425 parameters of the 746 it needs\. Lower sparsity\.$",
    ):
        network_widths(config(sparsity=0.999), ENVS["2s3z"])
