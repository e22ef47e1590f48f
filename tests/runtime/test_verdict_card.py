"""The page beside a verdict: complete, escaped, and the same for the same report."""

import copy
import re

import pytest

from mast_edge.runtime.verdict_card import verdict_card

HOSTILE = "](javascript:x) <script>alert(1)</script> | `a` \n# owned \u202e**b**"
REPORT = {
    "judged": "compression", "map": "3m", "env": "skirmish", "decision": "inconclusive", "exit_code": 7,
    "reason": "a loss of up to 4.1 points is not excluded; 3 are allowed", "margin": 0.03,
    "advice": "about 900 episodes in all", "run": "a-run", "artifact": "runs/a/agent.safetensors",
    "runtime": "csr", "kernel": "native: fc1 csr", "reference": "run dense", "decentralised": False,
    "sparsity": 0.95, "episodes": 2000, "paired": True, "lost": 0, "worst_case": None,
    "win_rate": 0.9, "win_rate_ci95": [0.88, 0.92], "reference_win_rate": 0.91,
    "reference_win_rate_ci95": [0.89, 0.93], "difference": -0.01, "difference_ci90": [-0.03, 0.01],
    "difference_limits": [-0.041, 0.02], "interval_method": "Tango", "newcombe_ci90": None,
    "discordant": {"lost": 80, "gained": 60}, "discordance": 0.07, "identical_episodes": 3,
    "equivalence": {
        "equivalent": False, "loss": {"z": 1.0, "p": 0.16}, "gain": {"z": 3.0, "p": 0.001}, "adjusted": False,
    },
    "mcnemar_p": 0.1,
    "design": {
        "name": "pocock", "looks": [125, 250, 500, 1000, 2000], "bounds": [2.201] * 5, "statistic": "z",
        "alpha": 0.05, "one_sided": True, "z": [{"pairs": 2000, "z": 1.234}], "intervals_adjusted": False,
    },
    "fidelity": {
        "epsilon": 1e-6, "relative_error": 1e-7, "relative_error_target": 1e-4, "within_target": True,
        "episodes": 125, "decisions": 9000, "action_agreement": 0.9999,
        "action_agreement_ci95": [0.999, 1.0], "trivially_certified": 100, "choices": 8900,
        "certified_fraction": 0.9995, "certified_fraction_target": 0.999, "certified_flips": 0, "flips": 1,
        "first_flips": [{"episode": 4, "step": 7, "agent": 2, "gap": 1e-7, "error": 3e-7}],
        "gap_quantiles": {"p01": 0.01, "p50": 0.4}, "hidden_drift": 2e-6,
    },
    "latency_us": {"median": 2.5, "p99": 4.0, "calls": 2000},
    "not_tested": ["StarCraft II: every episode was played in the embedded simulator"],
    "algorithm": "qmix", "method": "mast", "seeds": {"first": 2**32, "count": 2000, "sha256": "ab" * 32},
    "game": None, "sha256": {"artifact": "cd" * 32, "config": None}, "versions": {"numpy": "2.4"},
    "simulator": 2,
    "host": {"machine": "x86_64", "system": "Linux", "processor": "a cpu", "flags": ["avx2", "fma"]},
}  # fmt: skip


def test_it_says_what_was_claimed_and_what_not():
    card = verdict_card(REPORT)
    for said in (
        *("# 3m: inconclusive", "This is no parity", "## B. Compression cost", "## A. Runtime fidelity"),
        *("3 points of win rate", "about 900 episodes", "pocock", "0.05, one-sided", "2.201", "ab" * 32),
        *("| lost where the reference won (b) | 80 |", "| won where the reference lost (c) | 60 |", "7.0 %"),
        *(
            "-1.0 points",
            "Tango",
            "-3.0 to +1.0 points",
            "not adjusted",
            "-4.1 to +2.0 points",
            "| 2000 | +1.234",
        ),
        *("Wilson 95 % 88.0 to 92.0 %", "1e-06", "99.95 % of 8900", "clustered by episode", "| 4 | 7 | 2 |"),
        *("drifts by 2e-06", "2.5 us", "a cpu", "avx2, fma", "native: fc1 csr", "no evidence of parity"),
        *(
            "cd" * 32,
            "numpy",
            "## Not tested",
            "embedded simulator",
            "computed together",
            "episodes the game broke",
        ),
    ):
        assert said in card, said


def test_equal_reports_give_equal_pages():
    assert verdict_card(REPORT) == verdict_card(copy.deepcopy(REPORT))


def test_sections_follow_what_was_judged():
    fidelity = verdict_card({**REPORT, "judged": "fidelity", "decision": "pass", "advice": None})
    assert fidelity.index("## A.") < fidelity.index("### Battles") < fidelity.index("## B.")
    assert "Not judged: the reference has the same weights" in fidelity
    compression = verdict_card(REPORT)
    assert compression.index("## B.") < compression.index("### Battles") < compression.index("## A.")
    alone = verdict_card({**REPORT, "fidelity": None})
    assert "the checkpoint is not at hand" in alone


def test_evidence_by_betting_and_unpaired_play():
    looks = [{"pairs": 25 * k, "z": 0.1, "e_not_worse": 1.5, "e_worse": 0.5} for k in range(1, 41)]
    plan = {"name": "anytime", "looks": list(range(25, 2001, 25)), "bounds": [20.0] * 80, "statistic": "e"}
    design = {**REPORT["design"], **plan, "z": looks}
    game = {"game_version": "4.10", "base_build": 75689}
    changed = {"design": design, "paired": False, "seeds": None, "game": game, "newcombe_ci90": [-0.04, 0.02]}
    worst = {"pairs": 2003, "lost": 83, "gained": 60}
    card = verdict_card({**REPORT, **changed, "lost": 3, "worst_case": worst})
    for said in (
        *("every 25 pairs up to 2000", "E of parity", "| 1000 | +0.100 | 1.5 | 0.5 |", "Newcombe", "75689"),
        *("in the order of play", "83 lost, 60 gained of 2003"),
    ):
        assert said in card, said
    assert "| 25 | +0.100" not in card  # of 40 looks the last ones


@pytest.mark.parametrize(
    "field", ["map", "reason", "advice", "run", "artifact", "kernel", "reference", "method"]
)
def test_nothing_from_a_file_is_interpreted(field):
    card = verdict_card({**REPORT, field: HOSTILE})
    assert "<script>" not in card
    assert "\u202e" not in card
    assert not re.search(r"^# owned", card, re.MULTILINE)
    assert not re.search(r"(?<!\\)\]\(javascript", card)
    rows = [line for line in card.splitlines() if "owned" in line and line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows)
