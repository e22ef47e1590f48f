"""The shadow pass on real battles: who leads, what is compared, how far hidden states drift."""

import numpy as np
import pytest

from mast_edge.envs.skirmish import Skirmish
from mast_edge.runtime.agent import Agent
from mast_edge.runtime.latency import act_latency
from mast_edge.runtime.match import FIRST_SEED, play_batch
from mast_edge.runtime.shadow import ShadowTeam, shadow_pass
from mast_edge.runtime.team import BatchTeam
from tests.runtime.agents import export_csr, make_run


def make_env(n, seed):
    return Skirmish("3m", n, seed=seed)


@pytest.fixture
def agents(tmp_path):
    run = make_run(tmp_path)

    def noisy(weights):
        weights["fc2.bias"][7] += 0.05

    return {
        "reference": Agent.load(run / "checkpoints" / "step-000001000", backend="numpy"),
        "same": Agent.load(export_csr(run)),
        "noisy": Agent.load(export_csr(run, noisy, "noisy.safetensors")),
    }


def test_the_reference_leads(agents):
    led = play_batch(make_env(5, 70), ShadowTeam(agents["reference"], agents["noisy"]))
    alone = play_batch(make_env(5, 70), BatchTeam(agents["reference"]))
    assert np.array_equal(led.actions, alone.actions)


def test_same_weights_are_certified(agents):
    certificate, drift = shadow_pass(make_env, agents["same"], agents["reference"], 10)
    assert certificate.agreement == 1.0
    assert certificate.episodes == 10
    assert certificate.certified_fraction > 0.99
    assert certificate.same_weights
    assert drift < 1e-5


def test_every_decision_of_every_agent_is_counted(agents):
    certificate, _ = shadow_pass(make_env, agents["same"], agents["reference"], 6)
    outcomes = play_batch(make_env(6, FIRST_SEED), BatchTeam(agents["reference"]))
    assert certificate.decisions == 3 * outcomes.length.sum()
    assert certificate.decisions == certificate.trivial + certificate.choices


def test_an_error_of_one_output_is_epsilon_and_nothing_else_drifts(agents):
    certificate, drift = shadow_pass(make_env, agents["noisy"], agents["reference"], 10)
    assert certificate.epsilon == pytest.approx(0.05, rel=1e-3)
    assert certificate.certified_flips == 0
    assert certificate.certified_fraction < 1.0
    assert drift < 1e-5  # hidden states do not see the output bias
    assert not certificate.same_weights


def test_episodes_beyond_one_batch(agents):
    progress = []
    certificate, _ = shadow_pass(make_env, agents["same"], agents["reference"], 130, progress.append)
    assert certificate.episodes == 130
    assert [(p.done, p.total) for p in progress] == [(125, 130), (130, 130)]


def test_latency_times_single_calls(agents):
    latency = act_latency(make_env, agents["same"], calls=300)
    assert latency.calls == 300
    assert 0 < latency.median <= latency.p99
    assert latency.median < 1000
