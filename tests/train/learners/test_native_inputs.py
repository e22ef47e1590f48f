"""The native core refuses what does not fit, with a message, before it touches memory."""

import faulthandler
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mast_edge.native import _core
from tests.train.small_runs import in_child

N, A, O, S, H = 3, 5, 7, 11, 16  # noqa: E741
AGENT = [(H, O + A + N), (3 * H, H), (3 * H, H), (A, H)]
MIXER = [(12, S), (N * 8, 12), (12, S), (8, 12), (8, S), (8, S), (1, 8)]
CENTRAL = [(16, S + N), (16, 16), (16, 16), (1, 16), (16, S), (1, 16)]


def episode(
    length: int = 3, n: int = N, a: int = A, o: int = O, s: int = S, action: int = 1
) -> tuple[Any, ...]:
    """As `PanelBatch.load` takes it."""
    rows = length + 1
    return (
        np.zeros((rows, n, o), np.float32),
        np.zeros((rows, s), np.float32),
        np.ones((rows, n, a), np.uint8),
        np.full((length, n), action, np.uint8),
        np.zeros(length, np.float32),
        True,
    )


EPISODES = [episode(3), episode(2)]


def batch(episodes: list[tuple[Any, ...]] | None = None) -> _core.PanelBatch:
    made = _core.PanelBatch(N, A, O, S)
    made.load(EPISODES if episodes is None else episodes)
    return made


def placed(layers: list[tuple[int, int]]) -> tuple[list[tuple[int, int, int, int]], int]:
    """Layers one after the other in a flat array, and its size."""
    shapes, at = [], 0
    for out, in_ in layers:
        shapes.append((out, in_, at, at + out * in_))
        at += out * in_ + out
    return shapes, at


def agent(layers: list[tuple[int, int]] = AGENT) -> _core.AgentNetwork:
    shapes, size = placed(layers)
    made = _core.AgentNetwork(shapes, _core.Workers(1))
    made.refresh(np.zeros(size, np.float32))
    return made


def floats(*shape: int) -> Any:
    return np.zeros(shape, np.float32)


def replaced(place: int, value: Any) -> list[tuple[Any, ...]]:
    """A batch with one array of its second episode replaced."""
    changed = list(EPISODES[1])
    changed[place] = value
    return [EPISODES[0], tuple(changed)]


@pytest.mark.parametrize("n", [-1, 0, 65, 1000])
def test_agents_that_do_not_fit_a_panel(n) -> None:
    with pytest.raises(ValueError, match=rf"learner: agents must be 1 to 64; got {n}\."):
        _core.PanelBatch(n, A, O, S)


def test_no_episodes() -> None:
    with pytest.raises(ValueError, match="learner: a batch must hold at least one episode; got none"):
        batch([])


@pytest.mark.parametrize(
    ("episodes", "message"),
    [
        ([episode(o=8)], "obs must have 84 entries; got 96"),
        ([episode(s=8)], "state must have 44 entries; got 32"),
        ([episode(a=8)], "avail must have 60 entries; got 96"),
        ([episode(n=2)], "obs must have 84 entries; got 56"),
        (replaced(0, floats(2, N, O)), "obs must have 63 entries; got 42"),
        (replaced(1, floats(2, S)), "state must have 33 entries; got 22"),
        (replaced(2, np.ones((2, N, A), np.uint8)), "avail must have 45 entries; got 30"),
        (replaced(3, np.ones((3, N), np.uint8)), "actions must have 6 entries; got 9"),
        (replaced(4, floats(7)), "obs must have 168 entries; got 63"),
        ([EPISODES[0], episode(action=A)], "actions must be below n_actions"),
        ([EPISODES[0], episode(action=255)], "actions must be below n_actions"),
    ],
)
def test_episodes_of_other_sizes(episodes, message) -> None:
    with pytest.raises(ValueError, match=f"learner: {message}"):
        batch(episodes)


@pytest.mark.parametrize(
    "episodes",
    [
        replaced(0, np.zeros((3, N, O))),  # float64: a converted copy would not outlive the call
        replaced(0, floats(6, N, O)[::2]),
        replaced(0, floats(3 * N, O)),
        replaced(3, np.ones((2, N), np.int64)),
        replaced(4, [0.0, 0.0]),
        [EPISODES[0][:5]],
        [None],
        None,
    ],
)
def test_episodes_of_other_types(episodes) -> None:
    with pytest.raises(TypeError, match="incompatible function arguments"):
        _core.PanelBatch(N, A, O, S).load(episodes)


def test_a_batch_that_was_refused_can_be_loaded_again() -> None:
    made = batch()
    with pytest.raises(ValueError, match="obs"):
        made.load([episode(o=8)])
    made.load(EPISODES)
    assert (made.transitions, made.rows, made.order) == (5, 7, [0, 1])


def test_episodes_without_a_transition() -> None:
    """Only their last state is there."""
    made, network = batch([episode(0), episode(3), episode(0)]), agent()
    assert (made.transitions, made.rows, made.order) == (3, 6, [1, 0, 2])
    _core.forward_agents(made, [(network, True)])
    grad, out = floats(placed(AGENT)[1]), floats(made.rows)
    network.backward(made, floats(made.row_panels, N, 64), True, grad)
    made.td_lambda(np.ones(made.rows, np.float32), 0.9, 0.5, out)
    assert np.flatnonzero(out).tolist() == [0, 3]  # nothing follows the third transition
    mask = floats(made.rows)
    made.mask(mask)
    assert mask.tolist() == [1, 0, 0, 1, 1, 0]


def test_networks_of_other_layers() -> None:
    with pytest.raises(ValueError, match="learner: wrong number of layers"):
        _core.AgentNetwork(placed(AGENT)[0][:3], _core.Workers(1))
    with pytest.raises(ValueError, match="learner: wrong number of layers"):
        _core.MixerNetwork(placed(CENTRAL)[0], N, _core.Workers(1))
    with pytest.raises(ValueError, match="learner: wrong number of layers"):
        _core.CentralNetwork(placed(MIXER)[0], N, _core.Workers(1))


def test_parameters_that_are_too_short() -> None:
    network, made = agent(), batch()
    short = floats(placed(AGENT)[1] - 1)
    with pytest.raises(ValueError, match="flat parameters are too short"):
        network.refresh(short)
    _core.forward_agents(made, [(network, True)])
    with pytest.raises(ValueError, match="flat parameters are too short"):
        network.backward(made, floats(made.row_panels, N, 64), False, short)


def test_masks_of_other_sizes() -> None:
    with pytest.raises(ValueError, match="learner: mask must have the shape of the layer"):
        agent().set_mask(0, np.ones((3, 3), np.uint8), [])
    for layer in (-1, 4):
        with pytest.raises(IndexError):
            agent().set_mask(layer, None, [])


def test_arrays_of_other_sizes() -> None:
    """Of one entry too many or too few."""
    made, network = batch(), agent()
    _core.forward_agents(made, [(network, True)])
    panels, rows, steps = made.row_panels, made.rows, made.steps
    mixer = _core.MixerNetwork(placed(MIXER)[0], N, _core.Workers(1))
    central = _core.CentralNetwork(placed(CENTRAL)[0], N, _core.Workers(1))
    grad = floats(max(placed(layers)[1] for layers in (AGENT, MIXER, CENTRAL)))
    q, each, row = floats(panels, N, 64), floats(panels, N * A, 64), floats(panels * 64)
    wide, long = floats(panels, N + 1, 64), floats(panels * 64 + 1)
    avail = np.ones((panels, N * A + 1, 64), np.uint8)
    mixer.forward(made, q, row, True)
    central.forward(made, q, row)
    calls: list[Callable[[], object]] = [
        lambda: made.taken(network, wide),
        lambda: made.to_rows(floats(steps + 1, 64), q),
        lambda: made.to_rows(floats(steps, 64), wide),
        lambda: made.actions_to_rows(network, wide),
        lambda: made.avail_to_rows(avail),
        lambda: made.mask(floats(rows + 1)),
        lambda: made.mask(floats(rows - 1)),
        lambda: made.n_step(floats(rows + 1), 1, 0.9, floats(rows)),
        lambda: made.td_lambda(floats(rows), 0.9, 0.5, floats(rows - 1)),
        lambda: made.realised(0.9, floats(rows - 1)),
        lambda: network.backward(made, wide, False, grad),
        lambda: mixer.forward(made, wide, row, True),
        lambda: mixer.forward(made, q, long, True),
        lambda: mixer.backward(made, q, long, q.copy(), False, grad),
        lambda: mixer.backward(made, q, row, wide, False, grad),
        lambda: mixer.alternatives(made, wide, each, each.copy()),
        lambda: mixer.alternatives(made, q, wide, each),
        lambda: mixer.alternatives(made, q, each, wide),
        lambda: central.forward(made, wide, row),
        lambda: central.forward(made, q, long),
        lambda: central.backward(made, q, long, q.copy(), False, grad),
        lambda: central.backward(made, q, row, wide, False, grad),
        lambda: _core.agent_values(made, "max", None, network, 0.0, 0.0, wide),
        lambda: _core.greedy_actions(made, network, np.zeros((steps + 1, 64), np.int32)),
        lambda: _core.softmax_mean(made, wide, each, None, 1.0, row),
        lambda: _core.softmax_mean(made, each, wide, None, 1.0, row),
        lambda: _core.softmax_mean(made, each, each, avail, 1.0, row),
        lambda: _core.softmax_mean(made, each, each, None, 1.0, long),
        lambda: _core.rmsprop(floats(5), floats(6), floats(5), 1.0, 0.1, 0.9, 1e-5),
        lambda: _core.rmsprop(floats(5), floats(5), floats(4), 1.0, 0.1, 0.9, 1e-5),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"learner: .* must have \d+ entries; got \d+\."):
            call()


def test_operators_that_are_not_there() -> None:
    made, network = batch(), agent()
    _core.forward_agents(made, [(network, False)])
    out = floats(made.row_panels, N, 64)
    with pytest.raises(
        ValueError, match="operator must be max_double, max, softmax or soft_mellowmax; got mean"
    ):
        _core.agent_values(made, "mean", None, network, 0.0, 0.0, out)
    with pytest.raises(ValueError, match="max_double needs online"):
        _core.agent_values(made, "max_double", None, network, 0.0, 0.0, out)


def test_a_backward_pass_without_its_forward_pass() -> None:
    made, network, q = batch(), agent(), floats(1, N, 64)
    mixer = _core.MixerNetwork(placed(MIXER)[0], N, _core.Workers(1))
    central = _core.CentralNetwork(placed(CENTRAL)[0], N, _core.Workers(1))
    grad, row = floats(10_000), floats(64)
    calls: list[Callable[[], object]] = [
        lambda: network.backward(made, q, False, grad),
        lambda: mixer.backward(made, q, row, q.copy(), False, grad),
        lambda: central.backward(made, q, row, q.copy(), False, grad),
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match="learner: backward must follow a forward pass with keep"):
            call()
    _core.forward_agents(made, [(network, False)])
    mixer.forward(made, q, row, False)
    for call in calls:
        with pytest.raises(RuntimeError, match="learner: backward must follow a forward pass with keep"):
            call()


def set_heights(heights: list[int]) -> None:
    agent().set_mask(0, np.ones((H, O + A + N), np.uint8), heights)


def several_steps(n: int) -> None:
    made = batch()
    made.n_step(floats(made.rows), n, 0.9, floats(made.rows))


def without_forward(
    call: Callable[[_core.PanelBatch, _core.AgentNetwork, Any], object],
) -> Callable[[], object]:
    return lambda: call(batch(), agent(), floats(1, N, 64))


REFUSED: dict[str, Callable[[], object]] = {
    "taken before a forward pass": without_forward(lambda b, n, out: b.taken(n, out)),
    "finite before a forward pass": without_forward(lambda b, n, out: n.finite(b)),
    "values before a forward pass": without_forward(
        lambda b, n, out: _core.agent_values(b, "max", None, n, 0.0, 0.0, out)
    ),
    "actions before a forward pass": without_forward(
        lambda b, n, out: _core.greedy_actions(b, n, np.zeros((b.steps, 64), np.int32))
    ),
    "a batch that was never loaded": lambda: _core.softmax_mean(
        _core.PanelBatch(N, A, O, S), floats(0, 15, 64), floats(0, 15, 64), None, 1.0, floats(0)
    ),
    "no network": lambda: _core.forward_agents(batch(), [(None, True)]),  # type: ignore[list-item]
    "an agent of other inputs": lambda: _core.forward_agents(batch(), [(agent([(H, 16), *AGENT[1:]]), True)]),
    "an agent of other actions": lambda: _core.forward_agents(
        batch(), [(agent([*AGENT[:3], (A + 1, H)]), True)]
    ),
    "blocks that are too high": lambda: set_heights([16]),
    "blocks of no height": lambda: set_heights([0] * 16),
    "blocks of negative height": lambda: set_heights([-1] * 16),
    "blocks that end too early": lambda: set_heights([8]),
    "blocks that end too late": lambda: set_heights([8, 8, 8]),
    "a mask of other shape": lambda: agent().set_mask(0, np.ones((O + A + N, H), np.uint8), []),
    "no steps before bootstrap": lambda: several_steps(0),
    "negative steps before bootstrap": lambda: several_steps(-5),
}


def refused_in_child(call: Callable[[], object]) -> int:
    """0 where a call is refused; it may end its process otherwise."""

    def work() -> int:
        faulthandler.disable()
        try:
            call()
        except (ValueError, TypeError, RuntimeError):
            return 0
        return 1

    return in_child(work)


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_what_would_read_other_memory(call) -> None:
    assert refused_in_child(call) == 0


def test_results_that_would_be_lost() -> None:
    made, weights = batch(), np.ones(5)
    assert refused_in_child(lambda: made.mask(np.zeros(made.rows))) == 0  # type: ignore[arg-type]
    assert refused_in_child(lambda: made.mask(floats(2 * made.rows)[::2])) == 0
    assert (
        refused_in_child(lambda: _core.rmsprop(weights, floats(5), floats(5), 1.0, 0.1, 0.9, 1e-5)) == 0  # type: ignore[arg-type]
    )
