"""Erdos-Renyi densities, blocks and initial masks, against algorithms.md 7.2, 7.4 and check 5."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mast_edge.errors import ConfigError
from mast_edge.spec import AgentSpec, central_mixer_shapes, mixer_shapes
from mast_edge.topology import (
    blocks,
    erdos_renyi_densities,
    kept_blocks,
    layer_blocks,
    layer_nnz,
    layer_pattern,
    pattern_nnz,
    random_topology,
)

DIMS = {  # map: (N, A, O, S), accounting.md section 2
    "3m": (3, 9, 30, 48),
    "2s3z": (5, 11, 80, 120),
    "3s5z": (8, 14, 128, 216),
    "2c_vs_64zg": (2, 70, 332, 342),
}
AGENT = {name: AgentSpec(o, a, n).layer_shapes() for name, (n, a, o, _) in DIMS.items()}
MIXER = {name: mixer_shapes(n, s, 32, 64) for name, (n, _, _, s) in DIMS.items()}
CMIXER = {name: central_mixer_shapes(n, s, 256) for name, (n, _, _, s) in DIMS.items()}
NETWORKS = {"agent": AGENT, "mixer": MIXER, "cmixer": CMIXER}


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
    ("sparsity", "map_name", "network", "nnz", "total", "density"),
    [
        (0.95, "3m", "agent", (214, 516, 516, 148), 1394, 0.0501),
        (0.95, "3m", "mixer", (147, 210, 147, 126, 105, 105, 32), 872, 0.0500),
        (0.95, "2s3z", "agent", (337, 539, 539, 158), 1573, 0.0501),
        (0.95, "2s3z", "mixer", (322, 392, 322, 168, 266, 266, 32), 1768, 0.0500),
        (0.90, "3m", "agent", (428, 1032, 1032, 295), 2787, 0.1001),
        (0.90, "3m", "mixer", (300, 428, 300, 257, 214, 214, 32), 1745, 0.1001),
        (0.90, "3m", "cmixer", (2851, 4754, 4754, 256, 2823, 256), 15694, 0.1000),
        (0.90, "2s3z", "agent", (674, 1077, 1077, 316), 3144, 0.1001),
        (0.90, "2s3z", "mixer", (650, 792, 650, 340, 537, 537, 32), 3538, 0.1001),
        (0.90, "2s3z", "cmixer", (4048, 5439, 5439, 256, 3995, 256), 19433, 0.1000),
        (0.90, "3s5z", "agent", (934, 1117, 1117, 341), 3509, 0.1001),
        (0.90, "3s5z", "mixer", (1134, 1296, 1134, 389, 1005, 1005, 32), 5995, 0.1000),
        (0.90, "3s5z", "cmixer", (5809, 6196, 6196, 256, 5712, 256), 24425, 0.1000),
        (0.90, "2c_vs_64zg", "agent", (2307, 1262, 1262, 661), 5492, 0.1000),
        (0.90, "2c_vs_64zg", "mixer", (1628, 514, 1628, 385, 1500, 1500, 32), 7187, 0.1000),
        (0.90, "2c_vs_64zg", "cmixer", (8157, 6961, 6961, 256, 8130, 256), 30721, 0.1000),
        (0.85, "3s5z", "agent", (1401, 1676, 1676, 511), 5264, 0.1501),
        (0.85, "3s5z", "mixer", (1705, 1948, 1705, 585, 1510, 1510, 32), 8995, 0.1501),
        (0.85, "2c_vs_64zg", "agent", (3461, 1893, 1893, 991), 8238, 0.1500),
        (0.85, "2c_vs_64zg", "mixer", (2446, 771, 2446, 579, 2253, 2253, 32), 10780, 0.1501),
    ],
)
def test_kept_weights_of_the_published_settings(sparsity, map_name, network, nnz, total, density) -> None:
    """The table of algorithms.md 7.2."""
    shapes = NETWORKS[network][map_name]
    densities = erdos_renyi_densities(shapes, sparsity)
    assert tuple(layer_nnz(shape, densities[name]) for name, shape in shapes.items()) == nnz
    assert sum(nnz) == total
    assert round(total / sum(out * in_ for out, in_ in shapes.values()), 4) == density


def test_groups_start_at_each_gate_and_leave_one_short_group() -> None:
    assert blocks(14, 8) == layer_blocks("fc2", 14, "8x1")
    assert (blocks(14, 8).starts, blocks(14, 8).heights) == ((0, 8), (8, 6))
    gru = layer_blocks("gru_hh", 30, "4x1")  # three gates of ten rows
    assert gru.starts == (0, 4, 8, 10, 14, 18, 20, 24, 28)
    assert gru.heights == (4, 4, 2, 4, 4, 2, 4, 4, 2)
    plain = layer_blocks("fc1", 30, "4x1")  # one matrix of thirty rows
    assert plain.starts == (0, 4, 8, 12, 16, 20, 24, 28)
    assert plain.heights == (4, 4, 4, 4, 4, 4, 4, 2)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 70), st.sampled_from(["element", "4x1", "8x1"]))
def test_groups_cover_all_rows_and_never_span_a_gate(hidden, pattern) -> None:
    grouped = layer_blocks("gru_ih", 3 * hidden, pattern)
    covered = []
    for start, height in zip(grouped.starts, grouped.heights, strict=True):
        rows = range(start, start + height)
        assert len({row // hidden for row in rows}) == 1
        covered += rows
    assert covered == list(range(3 * hidden))


def test_a_gate_with_fewer_rows_than_a_block_stays_unstructured() -> None:
    assert blocks(3, 4).heights == (1, 1, 1)
    assert layer_blocks("gru_ih", 18, "8x1").heights == (1,) * 18  # six rows a gate
    assert layer_blocks("gru_ih", 24, "8x1").heights == (8, 8, 8)
    assert layer_blocks("V.2", 1, "8x1") == blocks(1, 1)


def test_full_and_short_blocks_are_two_classes_the_tallest_first() -> None:
    classes = [(height, groups.tolist()) for height, groups in layer_blocks("gru_ih", 18, "4x1").classes()]
    assert classes == [(4, [0, 2, 4]), (2, [1, 3, 5])]
    assert [(height, groups.tolist()) for height, groups in blocks(3, 1).classes()] == [(1, [0, 1, 2])]


def test_sums_add_the_rows_of_a_block() -> None:
    values = np.array([[1, 10], [2, 20], [3, 30], [4, 40], [5, 50], [6, 60]], np.float32)
    assert blocks(6, 4).sums(values).tolist() == [[10, 100], [11, 110]]
    assert blocks(6, 1).sums(values).tolist() == values.tolist()


def test_a_mask_is_its_kept_blocks_spread_over_their_rows() -> None:
    kept = np.array([[True, False, True], [False, False, True]])
    mask = blocks(6, 4).spread(kept)
    assert mask.astype(int).tolist() == 4 * [[1, 0, 1]] + 2 * [[0, 0, 1]]
    assert blocks(6, 4).whole(mask).tolist() == kept.tolist()
    assert blocks(6, 4).spread(blocks(6, 4).whole(mask)).tolist() == mask.tolist()


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("8x1", ("8x1", "8x1", "element", "element")),
        ({}, ("element", "element", "element", "element")),
        ({"agent": "8x1"}, ("8x1", "8x1", "element", "element")),
        ({"fc1": "4x1"}, ("4x1", "element", "element", "element")),
        ({"agent": "8x1", "fc1": "element"}, ("element", "8x1", "element", "element")),
        ({"fc1": "4x1", "agent.fc1": "8x1"}, ("8x1", "element", "element", "element")),
        ({"cagent": "4x1", "mixer": "8x1"}, ("element", "element", "4x1", "8x1")),
        ({"mixer": "8x1", "mixer.V.0": "4x1"}, ("element", "element", "element", "4x1")),
        ({"V.0": "4x1"}, ("element", "element", "element", "element")),
    ],
)
def test_the_longer_name_chooses_the_pattern(chosen, expected) -> None:
    layers = (("agent", "fc1"), ("agent", "gru_ih"), ("cagent", "fc1"), ("mixer", "V.0"))
    assert tuple(layer_pattern(chosen, *layer) for layer in layers) == expected


def test_kept_blocks_round_up_but_not_for_the_rounding_of_floats() -> None:
    assert kept_blocks(1200, 0.09724046434494193) == 117  # 116.7
    assert kept_blocks(10, 0.1 + 0.2) == 3  # 3.0000000000000004
    assert kept_blocks(64, 1.0) == 64


@pytest.mark.parametrize(
    ("pattern", "nnz", "classes"),
    [
        (
            "8x1",
            {"fc1": 936, "gru_ih": 1120, "gru_hh": 1120, "fc2": 350},
            {
                "fc1": [(8, 117, 1200)],
                "gru_ih": [(8, 140, 1536)],
                "gru_hh": [(8, 140, 1536)],
                "fc2": [(8, 25, 64), (6, 25, 64)],
            },
        ),
        (
            "4x1",
            {"fc1": 936, "gru_ih": 1120, "gru_hh": 1120, "fc2": 342},
            {
                "fc1": [(4, 234, 2400)],
                "gru_ih": [(4, 280, 3072)],
                "gru_hh": [(4, 280, 3072)],
                "fc2": [(4, 73, 192), (2, 25, 64)],
            },
        ),
    ],
)
def test_blocks_of_the_3s5z_agent(pattern, nnz, classes) -> None:
    """The example of algorithms.md 7.4: nnz 3526 and 3518."""
    shapes = AGENT["3s5z"]
    densities = erdos_renyi_densities(shapes, 0.9)
    counted = {n: pattern_nnz(n, shape, densities[n], pattern) for n, shape in shapes.items()}
    assert counted == nnz
    assert sum(nnz.values()) == {"8x1": 3526, "4x1": 3518}[pattern]
    masks = random_topology(shapes, 0.9, np.random.default_rng(0), dict.fromkeys(shapes, pattern))
    for name, (out, _) in shapes.items():
        grouped = layer_blocks(name, out, pattern)
        kept = grouped.whole(masks[name])
        found = [(h, int(kept[groups].sum()), kept[groups].size) for h, groups in grouped.classes()]
        assert found == classes[name]
        assert masks[name].sum() == nnz[name]


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


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        AgentSpec,
        obs_dim=st.integers(1, 60),
        n_actions=st.integers(1, 30),
        n_agents=st.integers(1, 9),
        hidden_dim=st.integers(1, 40),
    ),
    st.floats(0.3, 0.98),
    st.lists(st.sampled_from(["element", "4x1", "8x1"]), min_size=4, max_size=4),
    st.integers(0, 2**32 - 1),
)
def test_masks_hold_exactly_pattern_nnz_in_whole_blocks(spec, sparsity, chosen, seed) -> None:
    shapes = spec.layer_shapes()
    patterns = dict(zip(shapes, chosen, strict=True))
    densities = erdos_renyi_densities(shapes, sparsity)
    masks = random_topology(shapes, sparsity, np.random.default_rng(seed), patterns)
    assert set(masks) == {name for name, density in densities.items() if density < 1.0}
    for name, mask in masks.items():
        assert mask.shape == shapes[name]
        assert mask.sum() == pattern_nnz(name, shapes[name], densities[name], patterns[name])
        grouped = layer_blocks(name, len(mask), patterns[name])
        for start, height in zip(grouped.starts, grouped.heights, strict=True):
            rows = mask[start : start + height]
            assert (rows == rows[0]).all()


def test_a_layer_without_a_pattern_is_drawn_element_wise() -> None:
    named = random_topology(AGENT["3m"], 0.9, np.random.default_rng(3), dict.fromkeys(AGENT["3m"], "element"))
    silent = random_topology(AGENT["3m"], 0.9, np.random.default_rng(3), {})
    assert all((named[n] == silent[n]).all() for n in named)


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
