"""Erdos-Renyi densities and initial masks, against algorithms.md 7.2 and check 5."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mast_edge.errors import ConfigError
from mast_edge.spec import AgentSpec, mixer_shapes
from mast_edge.topology import erdos_renyi_densities, layer_nnz, random_topology

AGENT = {
    "3m": AgentSpec(30, 9, 3).layer_shapes(),
    "3s5z": AgentSpec(128, 14, 8).layer_shapes(),
    "2c_vs_64zg": AgentSpec(332, 70, 2).layer_shapes(),
}
MIXER = {"3m": mixer_shapes(3, 48, 32, 64), "3s5z": mixer_shapes(8, 216, 32, 64)}


def test_densities_of_check_5() -> None:
    densities = erdos_renyi_densities(AGENT["3s5z"], 0.9)
    assert densities == pytest.approx(
        {
            "fc1": 0.09724046434494193,
            "gru_ih": 0.09087893864013263,
            "gru_hh": 0.09087893864013263,
            "fc2": 0.37974413646055427,
        },
        rel=1e-12,
    )
    nnz = {name: layer_nnz(shape, densities[name]) for name, shape in AGENT["3s5z"].items()}
    assert nnz == {"fc1": 934, "gru_ih": 1117, "gru_hh": 1117, "fc2": 341}


def test_a_layer_that_saturates_becomes_dense() -> None:
    densities = erdos_renyi_densities(MIXER["3m"], 0.95)
    assert densities == pytest.approx(
        {
            "hyper_w_1.0": 0.0478515625,
            "hyper_w_1.2": 0.0341796875,
            "hyper_w_final.0": 0.0478515625,
            "hyper_w_final.2": 0.0615234375,
            "hyper_b_1": 0.068359375,
            "V.0": 0.068359375,
            "V.2": 1.0,
        },
        rel=1e-12,
    )


@pytest.mark.parametrize(
    ("shapes", "sparsity", "expected"),
    [
        (AGENT["3m"], 0.95, [214, 516, 516, 148]),
        (AGENT["3m"], 0.90, [428, 1032, 1032, 295]),
        (MIXER["3m"], 0.95, [147, 210, 147, 126, 105, 105, 32]),
        (MIXER["3s5z"], 0.90, [1134, 1296, 1134, 389, 1005, 1005, 32]),
        (AGENT["2c_vs_64zg"], 0.85, [3461, 1893, 1893, 991]),
    ],
)
def test_kept_weights_of_the_published_settings(shapes, sparsity, expected) -> None:
    densities = erdos_renyi_densities(shapes, sparsity)
    assert [layer_nnz(shapes[n], densities[n]) for n in shapes] == expected


def test_masks_hold_exactly_nnz_and_follow_the_stream() -> None:
    first = random_topology(AGENT["3m"], 0.9, np.random.default_rng(3))
    again = random_topology(AGENT["3m"], 0.9, np.random.default_rng(3))
    other = random_topology(AGENT["3m"], 0.9, np.random.default_rng(4))
    assert {n: int(m.sum()) for n, m in first.items()} == {
        "fc1": 428,
        "gru_ih": 1032,
        "gru_hh": 1032,
        "fc2": 295,
    }
    assert all((first[n] == again[n]).all() for n in first)
    assert any((first[n] != other[n]).any() for n in first)


def test_a_dense_layer_has_no_mask() -> None:
    assert "V.2" not in random_topology(MIXER["3m"], 0.95, np.random.default_rng(0))


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5])
def test_sparsity_out_of_range_is_refused(sparsity) -> None:
    with pytest.raises(ConfigError, match=r"sparsity must be in \[0, 1\)"):
        erdos_renyi_densities(AGENT["3m"], sparsity)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.text("abc", min_size=1, max_size=3),
        st.tuples(st.integers(1, 90), st.integers(1, 90)),
        min_size=1,
        max_size=5,
    ),
    st.floats(0.3, 0.98),
)
def test_densities_keep_the_total(shapes, sparsity) -> None:
    try:
        densities = erdos_renyi_densities(shapes, sparsity)
    except ConfigError:
        return
    assert all(0.0 < d <= 1.0 for d in densities.values())
    total = sum(out * in_ for out, in_ in shapes.values())
    kept = sum(d * shapes[n][0] * shapes[n][1] for n, d in densities.items())
    assert kept == pytest.approx((1.0 - sparsity) * total, rel=1e-9)
