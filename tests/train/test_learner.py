"""The learner against a step-by-step reference of the published kind, and its invariants."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mast_edge.config import ExperimentConfig, resolve
from mast_edge.registry import SPARSE_METHODS
from mast_edge.registry import resolve as resolve_name
from mast_edge.spec import EnvSpec
from mast_edge.train.algos.qmix import Qmix
from mast_edge.train.learners.torch import Divergence, TorchLearner, tensor_batch
from mast_edge.train.replay import Episode, pack

SPEC = EnvSpec("3m", "skirmish", n_agents=3, n_actions=9, obs_dim=30, state_dim=48, episode_limit=60)


def make_learner(**values: object) -> TorchLearner:
    torch.set_num_threads(1)
    config: ExperimentConfig = resolve({"env": {"map": "3m"}, **values})
    algorithm = Qmix(config, SPEC)
    method = resolve_name("method", SPARSE_METHODS, config.method)
    rng = np.random.default_rng(1)
    methods = {n: method(config.topology, config.sparsity, rng) for n in algorithm.networks}
    return TorchLearner(config, SPEC, algorithm, methods, np.random.default_rng(2), torch.device("cpu"))


def random_episodes(rng: np.random.Generator, lengths: list[int]) -> list[Episode]:
    episodes = []
    for i, n in enumerate(lengths):
        avail = (rng.random((n + 1, 3, 9)) < 0.4).astype(np.uint8)
        avail[..., 1] = 1
        episodes.append(
            Episode(
                obs=rng.normal(size=(n + 1, 3, 30)).astype(np.float32),
                state=rng.normal(size=(n + 1, 48)).astype(np.float32),
                avail=avail,
                actions=rng.integers(0, 9, (n, 3)).astype(np.uint8),
                reward=rng.normal(size=n).astype(np.float32),
                terminated=i % 2 == 0,
                timed_out=i % 2 == 1,
            )
        )
    return episodes


def unrolled(p: dict[str, torch.Tensor], e: Episode) -> torch.Tensor:
    """(L + 1, N, A) utilities of one episode, one GRU cell call per step, one-hots written by hand."""
    n, a = 3, 9
    h = torch.zeros(n, 64, dtype=torch.float64)
    last = torch.zeros(n, a, dtype=torch.float64)
    out = []
    for t in range(e.length + 1):
        x = torch.cat([torch.from_numpy(e.obs[t]).double(), last, torch.eye(n, dtype=torch.float64)], 1)
        x = torch.relu(F.linear(x, p["agent.fc1.weight"], p["agent.fc1.bias"]))
        h = torch.gru_cell(
            x,
            h,
            p["agent.gru_ih.weight"],
            p["agent.gru_hh.weight"],
            p["agent.gru_ih.bias"],
            p["agent.gru_hh.bias"],
        )
        out.append(F.linear(h, p["agent.fc2.weight"], p["agent.fc2.bias"]))
        if t < e.length:
            last = F.one_hot(torch.from_numpy(e.actions[t]).long(), a).double()
    return torch.stack(out)


def mixed(p: dict[str, torch.Tensor], q: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    """q_tot of one state, written from algorithms.md 2.2."""
    lin = lambda n, x: F.linear(x, p[f"mixer.{n}.weight"], p[f"mixer.{n}.bias"])  # noqa: E731
    w1 = lin("hyper_w_1.2", torch.relu(lin("hyper_w_1.0", s))).abs().view(3, 32)
    wf = lin("hyper_w_final.2", torch.relu(lin("hyper_w_final.0", s))).abs()
    v = lin("V.2", torch.relu(lin("V.0", s)))[0]
    return F.elu(q @ w1 + lin("hyper_b_1", s)) @ wf + v


def reference(
    learner: TorchLearner, episodes: list[Episode], t_env: int
) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients in double precision, episode by episode, step by step, backwards for TD(lambda)."""
    config = learner.config
    online = {n: t.detach().double().requires_grad_() for n, t in learner.online.tensors.items()}
    target = {n: t.detach().double() for n, t in learner.target.tensors.items()}
    lambda_ = config.target.lambda_ if t_env >= config.target.start else 0.0
    total, count = torch.zeros((), dtype=torch.float64), 0
    for e in episodes:
        q, q_target = unrolled(online, e), unrolled(target, e)
        values = []
        for t in range(e.length + 1):
            best = []
            for i in range(3):
                u = np.flatnonzero(e.avail[t, i])
                if config.target.operator == "soft_mellowmax":
                    qu = q_target[t, i, u]
                    w = torch.softmax(config.target.alpha * qu, 0)
                    best.append(
                        torch.log((w * torch.exp(config.target.omega * qu)).sum()) / config.target.omega
                    )
                else:
                    best.append(q_target[t, i, u[int(q[t, i, u].argmax())]])
            values.append(mixed(target, torch.stack(best), torch.from_numpy(e.state[t]).double()).detach())
        g = values[-1]
        ends = e.terminated or e.timed_out
        for t in reversed(range(e.length)):
            bootstrap = 0.0 if ends and t == e.length - 1 else config.gamma
            g = float(e.reward[t]) + bootstrap * ((1 - lambda_) * values[t + 1] + lambda_ * g)
            chosen = q[t].gather(1, torch.from_numpy(e.actions[t]).long()[:, None])[:, 0]
            q_tot = mixed(online, chosen, torch.from_numpy(e.state[t]).double())
            total = total + (q_tot - g.detach()) ** 2
            count += 1
    loss = total / count
    loss.backward()
    return float(loss.detach()), {n: t.grad for n, t in online.items() if t.grad is not None}


@pytest.mark.parametrize("method", ["dense", "mast"])
@pytest.mark.parametrize("t_env", [0, 1_999_999])
def test_loss_and_every_gradient_equal_the_step_by_step_reference(method, t_env) -> None:
    learner = make_learner(method=method)
    with torch.no_grad():
        learner.target.flat.mul_(1.3)  # targets that differ from the online networks
    episodes = random_episodes(np.random.default_rng(5), [4, 9, 1, 6])
    expected, gradients = reference(learner, episodes, t_env)
    learner.online.grad.zero_()
    batch = tensor_batch(pack(episodes, SPEC, timeout_is_terminal=True), learner.device)
    loss, _ = learner.algorithm.loss(learner.online, learner.target, batch, t_env)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    for name, view in learner.online.views(learner.online.grad).items():
        scale = float(gradients[name].abs().max())
        assert float((view.double() - gradients[name]).abs().max()) <= 1e-5 * max(scale, 1e-3), name


def test_rmsprop_of_a_just_grown_weight_is_check_9() -> None:
    learner = make_learner(method="dense")
    learner.online.flat.detach().zero_()
    norm_of_rest = np.sqrt(20.0**2 - 0.3**2)
    for step, square in (
        (0.004996668887241949, 2.2499997750000163e-04),
        (0.0035427317743118364, 4.4774995522500326e-04),
    ):
        before = float(learner.online.flat[0].detach())
        learner.online.grad.zero_()
        learner.online.grad[0] = 0.3
        learner.online.grad[1] = norm_of_rest
        assert learner._step(torch.tensor(1.0)) == pytest.approx(20.0, rel=1e-6)
        assert before - float(learner.online.flat[0].detach()) == pytest.approx(step, rel=1e-5)
        assert float(learner.square_avg[0]) == pytest.approx(square, rel=1e-5)


def test_gru_cell_of_check_10() -> None:
    """One hidden unit, x = 0.5, h = -0.2."""
    one = lambda *v: torch.tensor(v, dtype=torch.float64)  # noqa: E731
    w_ih, w_hh = one(0.3, -0.6, 0.9)[:, None], one(-0.4, 0.7, 0.5)[:, None]
    b_ih, b_hh = one(0.1, 0.2, -0.1), one(0.05, -0.15, 0.25)
    out, _ = torch.gru(
        one(0.5).view(1, 1, 1),
        one(-0.2).view(1, 1, 1),
        [w_ih, w_hh, b_ih, b_hh],
        True,
        1,
        0.0,
        False,
        False,
        False,
    )
    assert float(out) == pytest.approx(0.1654511518684013, rel=1e-12)


def test_sparsity_holds_through_updates_evolutions_and_target_copies() -> None:
    learner = make_learner(topology={"interval": 3}, target={"update_interval": 4})
    rng = np.random.default_rng(7)
    nnz = {(n, layer): int(m.sum()) for n, t in learner.topologies.items() for layer, m in t.items()}
    first = {key: learner.topologies[key[0]][key[1]].copy() for key in nnz}
    masks_at_copy = learner.mask.clone()
    for i in range(1, 13):
        learner.update(pack(random_episodes(rng, [5, 8, 3]), SPEC, timeout_is_terminal=True), t_env=i)
        for (network, layer), kept in nnz.items():
            assert int(learner.topologies[network][layer].sum()) == kept
        assert not learner.online.flat.detach()[learner.mask == 0].any()
        assert not learner.square_avg[learner.mask == 0].any()
        if i % 4 == 0:
            assert torch.equal(learner.target.flat, learner.online.flat.detach())
            masks_at_copy = learner.mask.clone()
        assert not learner.target.flat[masks_at_copy == 0].any()
    assert all((first[key] != learner.topologies[key[0]][key[1]]).any() for key in nnz)


def test_connections_that_changed_start_from_zero() -> None:
    learner = make_learner(topology={"interval": 1})
    before = {layer: m.copy() for layer, m in learner.topologies["agent"].items()}
    learner.update(pack(random_episodes(np.random.default_rng(3), [6, 6]), SPEC, timeout_is_terminal=True), 1)
    slots = learner.online.views(learner.square_avg)
    for layer, mask in learner.topologies["agent"].items():
        changed = torch.from_numpy(mask != before[layer])
        assert changed.any()
        assert not learner.online.tensors[f"agent.{layer}.weight"].detach()[changed].any()
        assert not slots[f"agent.{layer}.weight"][changed].any()


def test_methods_share_initial_weights() -> None:
    dense, mast = make_learner(method="dense"), make_learner(method="mast")
    kept = mast.mask > 0
    assert torch.equal(dense.online.flat.detach()[kept], mast.online.flat.detach()[kept])


def test_init_rescale_grows_surviving_weights() -> None:
    plain, scaled = make_learner(), make_learner(topology={"init_rescale": True})
    a = plain.online.tensors["agent.gru_hh.weight"].detach()
    b = scaled.online.tensors["agent.gru_hh.weight"].detach()
    density = float((a != 0).double().mean())
    assert torch.allclose(b, a * min(3.0, density**-0.5))
    assert torch.equal(plain.online.tensors["agent.fc1.bias"], scaled.online.tensors["agent.fc1.bias"])


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_value_that_is_not_finite_stops_the_run_and_changes_nothing(poison) -> None:
    learner = make_learner()
    episodes = random_episodes(np.random.default_rng(3), [6, 6])
    episodes[0].reward[2] = poison
    before = learner.online.flat.detach().clone()
    with pytest.raises(Divergence, match="must be finite"):
        learner.update(pack(episodes, SPEC, timeout_is_terminal=True), 1)
    assert torch.equal(learner.online.flat.detach(), before)


def test_same_seed_same_bytes() -> None:
    def trained() -> bytes:
        learner, rng = make_learner(topology={"interval": 2}), np.random.default_rng(9)
        for i in range(1, 6):
            learner.update(pack(random_episodes(rng, [5, 8, 3]), SPEC, timeout_is_terminal=True), i)
        return learner.online.flat.detach().numpy().tobytes()

    assert trained() == trained()


def test_state_round_trip() -> None:
    learner, rng = make_learner(topology={"interval": 2}), np.random.default_rng(9)
    for i in range(1, 4):
        learner.update(pack(random_episodes(rng, [5, 8]), SPEC, timeout_is_terminal=True), i)
    other = make_learner(topology={"interval": 2})
    other.load_state({k: v.copy() for k, v in learner.state().items()}, learner.updates, learner.replaced)
    batch = pack(random_episodes(rng, [7, 2]), SPEC, timeout_is_terminal=True)
    assert learner.update(batch, 4) == other.update(batch, 4)
    assert torch.equal(learner.online.flat.detach(), other.online.flat.detach())
    assert torch.equal(learner.mask, other.mask)


def test_the_reference_really_runs_cell_by_cell() -> None:
    """Guards the reference itself: nn.GRUCell gives what torch.gru_cell is fed here."""
    cell = nn.GRUCell(3, 2)
    x, h = torch.randn(4, 3), torch.randn(4, 2)
    assert torch.allclose(cell(x, h), torch.gru_cell(x, h, *cell._parameters.values()))
