"""Real costs: bytes against accounting.md 7.2 and hand counts, operations, times, break-even."""

import json
import sys

import numpy as np
import pytest

from mast_edge.artifact import build_artifact
from mast_edge.contract import AgentContract
from mast_edge.costs import NOT_BUILT, agent_costs, patterns_of
from mast_edge.costs import break_even as sweeps
from mast_edge.costs.agent import CostedAgent, random_agent
from mast_edge.costs.break_even import SWEEP, Sweep, crossing, csr_break_even
from mast_edge.costs.disk_bytes import agent_bytes, bitmask_bytes, bytes_break_even, file_parts
from mast_edge.costs.timing import interleaved, latency, tiny_rival
from mast_edge.costs.work import agent_work
from mast_edge.layers import make_layer
from mast_edge.spec import LAYERS, AgentSpec
from tests.agents import MAP_3M, TINY, env_of, greedy_rows
from tests.agents import random_agent as agent_of_tests

SPECS = {
    "3m": AgentSpec(30, 9, 3),
    "2s3z": AgentSpec(80, 11, 5),
    "3s5z": AgentSpec(128, 14, 8),
    "2c_vs_64zg": AgentSpec(332, 70, 2),
}


def agent(spec=MAP_3M, sparsity=0.95, **more):
    return random_agent(AgentContract.of(spec, env_of(spec)), sparsity, **more)


@pytest.mark.parametrize(
    (
        *("name", "sparsity", "nnz", "dense", "values", "indices", "pointers", "biases"),
        *("csr", "bitmask", "ratios"),
    ),
    [
        ("3m", 0.95, 1394, 113188, 5576, 1394, 922, 1828, 9720, 10884, (0.086, 0.096, 0.065)),
        ("3m", 0.90, 2787, 113188, 11148, 2787, 922, 1828, 16685, 16456, (0.147, 0.145, 0.115)),
        ("2s3z", 0.95, 1573, 127532, 6292, 1573, 926, 1836, 10627, 12056, (0.083, 0.095, 0.064)),
        ("2s3z", 0.90, 3144, 127532, 12576, 3144, 926, 1836, 18482, 18340, (0.145, 0.144, 0.113)),
        ("3s5z", 0.90, 3509, 142136, 14036, 3509, 932, 1848, 20325, 20268, (0.143, 0.143, 0.112)),
        ("3s5z", 0.85, 5264, 142136, 21056, 5264, 932, 1848, 29100, 27288, (0.205, 0.192, 0.161)),
        ("2c_vs_64zg", 0.90, 5492, 221720, 21968, 7799, 1044, 2072, 32883, 30904, (0.148, 0.139, 0.108)),
        ("2c_vs_64zg", 0.85, 8238, 221720, 32952, 11699, 1044, 2072, 47767, 41888, (0.215, 0.189, 0.158)),
    ],
)
def test_bytes_of_the_papers_agents(
    name, sparsity, nnz, dense, values, indices, pointers, biases, csr, bitmask, ratios
):
    """The table of accounting.md 7.2, read from the files."""
    subject = agent(SPECS[name], sparsity)
    found = agent_bytes(subject)
    tables = tuple(found.parts[part] for part in ("values", "indices", "pointers", "biases"))
    assert tables == (values, indices, pointers, biases)
    assert (found.payload, found.bitmask, found.dense_arrays) == (csr, bitmask, dense)
    shown = found.ratios()
    assert tuple(round(shown[key], 3) for key in ("tables", "bitmask", "without_indices")) == ratios
    assert round(shown["rule_r"], 3) == ratios[2]
    assert sum(layer.nnz for layer in subject.layers().values()) == nnz
    assert found.dense_weights + biases == dense


@pytest.mark.parametrize("precision", ["f32", "int8"])
@pytest.mark.parametrize("pattern", ["element", "4x1", "8x1"])
def test_parts_add_up_to_the_file_and_are_the_tables(pattern, precision):
    weights, masks = agent_of_tests(MAP_3M, 0.9, pattern=pattern)
    contract = AgentContract.of(MAP_3M, env_of(MAP_3M))
    subject = CostedAgent(contract, weights, masks, greedy_rows(MAP_3M, weights), 0.9, precision, {"seed": 1})
    found = agent_bytes(subject)
    file = build_artifact(contract, weights, masks, {"seed": 1}, precision)
    assert sum(found.parts.values()) == found.file == len(file)
    sections = [table for layer in subject.layers().values() for table in layer.sections().items()]
    stored = sum(table.nbytes for section, table in sections if section in ("values", "blocks", "dense"))
    scales = sum(table.nbytes for section, table in sections if section == "scale")
    assert (found.parts["values"], found.parts["scales"]) == (stored, scales)
    assert (scales > 0) == (precision == "int8")
    assert found.parts["golden"] == 8 * 9 * 4
    assert 0 <= found.parts["padding"] < 8
    assert found.payload == sum(table.nbytes for _, table in sections)
    assert found.ratios()["weights"] == (found.payload - found.parts["biases"]) / found.dense_weights


def test_a_file_without_weights_is_all_header_and_padding():
    header = b'{"__metadata__":{"mast_edge":"x"}}  '
    assert file_parts(len(header).to_bytes(8, "little") + header) == {
        **dict.fromkeys(("values", "indices", "pointers", "biases", "scales", "golden"), 0),
        "padding": 2,
        "header": 8 + len(header) - 2,
    }


def layer_of(rows, cols, name="fc1", mask=None, precision="f32"):
    weight = np.ones((rows, cols), np.float32)
    return make_layer(name, weight, np.zeros(rows, np.float32), mask, precision)


def test_break_even_in_bytes_by_hand():
    """fc1 of 3m, 64 x 42: 5 nnz + 2 * 65 < 4 * 2688 up to 2124 of 2688; bits: 4 nnz + 336 < 10752 up to 2603.

    From 300 columns on an index has two bytes: 64 x 300: 6 nnz + 130 < 76800 up to 12778 of 19200.
    """
    assert bytes_break_even("fc1", layer_of(64, 42)) == {
        "tables": 1 - 2124 / 2688,
        "bitmask": 1 - 2603 / 2688,
    }
    assert bytes_break_even("fc1", layer_of(64, 300))["tables"] == 1 - 12778 / 19200


def test_break_even_in_bytes_of_int8_by_hand():
    """64 x 42: 2 nnz + 130 < 2688 up to 1278; bits: nnz + 336 < 2688 up to 2351."""
    found = bytes_break_even("fc1", layer_of(64, 42, precision="int8"), "int8")
    assert found == {"tables": 1 - 1278 / 2688, "bitmask": 1 - 2351 / 2688}


def test_break_even_in_bytes_of_blocks_by_hand():
    """64 x 42 in 8x1: 8 groups; an entry is 33 bytes: 33 n + 2 * 9 < 10752 up to 325 of 336."""
    mask = np.zeros((64, 42), bool)
    mask[:8, 3] = True
    assert bytes_break_even("fc1", layer_of(64, 42, mask=mask))["tables"] == 1 - 325 / 336


def test_a_matrix_too_small_for_an_index_has_no_break_even():
    """1 x 1: pointers take as many bytes as the weight."""
    assert bytes_break_even("fc2", layer_of(1, 1, "fc2"))["tables"] is None


def test_bitmask_bytes_are_rounded_up_per_matrix():
    assert bitmask_bytes(layer_of(3, 3)) == 9 * 4 + 2 + 3 * 4


def test_a_narrow_agent_is_compared_with_the_full_one():
    narrow = AgentSpec(30, 9, 3, 13)
    found = agent_bytes(agent(narrow, 0.95, full=MAP_3M))
    assert found.dense_arrays == 113188
    assert found.parts["indices"] == 0
    assert found.payload == 4 * 1777
    assert found.ratios()["rule_r"] == 1777 / 28297
    assert found.dense_file > 113188


def test_rule_r_of_agents_whose_sparsity_is_unknown_or_not_used():
    weights, masks = agent_of_tests(MAP_3M, 0.95)
    contract, inputs = AgentContract.of(MAP_3M, env_of(MAP_3M)), greedy_rows(MAP_3M, weights)

    def ratio(masks, sparsity, dense=None):
        return agent_bytes(CostedAgent(contract, weights, masks, inputs, sparsity, dense=dense)).rule_r_ratio

    by_hand = (0.05 * 27840 + 457) / 28297
    assert ratio(masks, 0.95) == ratio(masks, 0.95, (MAP_3M, weights)) == pytest.approx(by_hand, rel=1e-12)
    assert ratio(masks, None) is None
    assert ratio({}, 0.95) == 1.0


def test_the_random_agent_is_the_same_every_time_and_like_its_setting():
    one, two = agent(patterns={"gru_ih": "8x1"}), agent(patterns={"gru_ih": "8x1"})
    assert json.dumps(agent_costs(one, measure=False).to_json()) == json.dumps(
        agent_costs(two, measure=False).to_json()
    )
    assert patterns_of(one) == {"fc1": "element", "gru_ih": "8x1", "gru_hh": "element", "fc2": "element"}
    inputs = one.inputs
    assert inputs.avail.any(axis=2).all()
    assert (np.take_along_axis(inputs.avail, inputs.actions[..., None].astype(int), 2) == 1).all()
    assert 0.45 < (inputs.obs == 0).mean() < 0.55


def test_operations_of_an_agent_of_3m():
    """Hand counts: 3H = 192 and A = 9 rows, padded to 192 and 16; W_hh and fc2 see every hidden unit.

    At 95 % the runtime takes W_hh from blocks, the parts of columns in groups of 8 rows that hold a weight.
    """
    subject = agent()
    work = agent_work(subject)
    layers = {layer.name: layer for layer in work.layers}
    blocks = int(subject.masks["gru_hh"].reshape(24, 8, 64).any(axis=1).sum())
    assert layers["gru_hh"].executed == {"dense": 192 * 64, "csr": 516, "runtime": 8 * blocks}
    fc2 = subject.masks["fc2"]
    blocks = int(fc2[:8].any(axis=0).sum() + fc2[8:].any(axis=0).sum())
    assert layers["fc2"].executed == {"dense": 16 * 64, "csr": 148, "runtime": 8 * blocks}
    in_obs = np.count_nonzero(subject.masks["fc1"][:, :30])
    assert layers["fc1"].executed["csr"] == in_obs
    seen = np.count_nonzero(subject.inputs.obs) / (64 * 3)
    assert layers["fc1"].executed["dense"] == pytest.approx(64 * seen)
    assert (layers["gru_hh"].kernel, layers["fc1"].kernel) == ("8x1", "dense")
    assert set(layers["gru_hh"].predicted_ns) == {"dense", "csr", "8x1", "4x1"}
    assert work.passes == 64 * 3
    assert work.other == {"one_hot_adds": 64 * (2 - 2 / 64), "relus": 64, "activations": 192}
    shown = work.to_json()
    assert (shown["dense"], shown["nnz"]) == (27840, 1394)
    assert shown["executed_per_joint_step"]["csr"] == pytest.approx(3 * shown["executed"]["csr"])
    assert shown["layers"][3]["utilisation"] == 148 / (8 * blocks)
    assert shown["utilisation"]["runtime"] == 1394 / shown["executed"]["runtime"]
    assert shown["ratios"]["csr"] == shown["executed"]["csr"] / 27840


def test_times_are_of_both_tables_and_all_batches():
    found = latency(agent(TINY, 0.5), calls=20)
    assert list(found.batches) == [1, 3, 64]
    for choices in found.batches.values():
        assert set(choices) == {"dense", "csr", "runtime", "tiny"}
        for times in choices.values():
            assert 0 < times.p10 <= times.median <= times.p90
    assert (found.max_abs_q_difference, found.same_actions) == (0.0, 1.0)
    shown = found.to_json()["batches"][0]
    assert shown["dense_over"]["csr"] == shown["dense"]["median"] / shown["csr"]["median"]


def test_the_narrow_rival_has_as_many_parameters():
    """3m at 95 % keeps 1394 + 457; 43 H + 6 (H H + H) + 9 H + 9 is 1777 for H = 13 and 1997 for 14."""
    spec, _ = tiny_rival(agent(MAP_3M, 0.95))
    assert spec == AgentSpec(30, 9, 3, 13)
    assert tiny_rival(agent(MAP_3M, 0.0)) is None
    assert tiny_rival(agent(AgentSpec(300, 2, 1, 2), 0.9)) is None


def test_variants_are_timed_in_turn_and_the_order_is_reversed():
    seen = []
    calls = {name: (lambda k, name=name: seen.append((name, k))) for name in ("a", "b")}
    taken = interleaved(calls, repeats=3, warm_up=1)
    assert [name for name, _ in seen] == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert [k for _, k in seen] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert {len(times) for times in taken.values()} == {3}


def test_break_even_lies_on_the_line_between_two_points():
    assert crossing((0.0, 0.5, 0.9, 1.0), (8.0, 6.0, 2.0, -2.0)) == pytest.approx(0.95)
    assert crossing((0.0, 0.5), (1.0, 0.0)) == 0.5
    assert crossing((0.0, 0.5), (-1.0, -2.0)) == 0.0
    assert crossing((0.0, 0.5), (2.0, 1.0)) is None
    assert crossing((0.0, 0.5, 0.9), (1.0, -1.0, 3.0)) == pytest.approx(0.25)


def test_no_break_even_is_a_result():
    never = Sweep("fc1", (64, 30), (1.0,) * len(SWEEP), (2.0,) * len(SWEEP))
    assert never.to_json()["break_even_sparsity"] is None


def test_the_sweep_is_measured_once_per_sizes_and_patterns(monkeypatch):
    monkeypatch.setattr(sweeps, "LAYER_CALLS", 3)
    monkeypatch.setattr(sweeps, "AGENT_CALLS", 3)
    spec = AgentSpec(6, 4, 2, 8)
    first = csr_break_even(spec)
    assert csr_break_even(AgentSpec(6, 4, 2, 8), {"fc1": "element"}) is first
    assert csr_break_even(spec, {"fc1": "4x1"}) is not first
    shown = first.to_json()
    assert [found["what"] for found in shown["results"]] == [*LAYERS, "agent, batch 1", "agent, batch 2"]
    assert [found["shape"] for found in shown["results"][:2]] == [[8, 6], [24, 8]]
    for found in shown["results"]:
        assert len(found["dense_us"]) == len(found["csr_us"]) == len(shown["sweep"]) == 10
        assert min(found["dense_us"] + found["csr_us"]) > 0


def test_without_the_native_core_bytes_remain_and_the_rest_says_why(monkeypatch):
    monkeypatch.setitem(sys.modules, "mast_edge.native._core", None)
    found = agent_costs(agent())
    assert (found.macs, found.latency, found.break_even) == (None, None, None)
    assert found.note == NOT_BUILT
    assert found.bytes.payload == 9720
    assert json.loads(json.dumps(found.to_json()))["note"].startswith("not measured: the native core")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["3m", "2c_vs_64zg"])
def test_csr_loses_when_full_and_wins_when_nearly_empty(name):
    """Of W_hh, whose inputs are never zero: the ends of the sweep are far from the break-even anywhere."""
    sweep = csr_break_even(SPECS[name]).sweeps[2]
    assert sweep.csr[0] > 2 * sweep.dense[0]
    assert sweep.csr[-1] < sweep.csr[0] / 4
