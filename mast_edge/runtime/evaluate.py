"""Plays the game with an exported agent and gives the verdict."""

import contextlib
import dataclasses
import hashlib
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mast_edge.atomic import write_atomically
from mast_edge.envs.skirmish import SIMULATOR_VERSION
from mast_edge.envs.smac_install import is_stand_in
from mast_edge.provenance import processor, processor_flags, versions
from mast_edge.registry import ENVIRONMENTS
from mast_edge.runs import Run
from mast_edge.runtime.certificate import Certificate
from mast_edge.runtime.contest import MakeEnv, Progress, contest
from mast_edge.runtime.decentralised import DecentralisedTeam
from mast_edge.runtime.decentralised_verdict import (
    BATTLES,
    agents_apart,
    check_step_seconds,
    facts_apart,
    not_tested_apart,
    qualified,
)
from mast_edge.runtime.decision import decide
from mast_edge.runtime.designs import Design, choose_design
from mast_edge.runtime.ground import Ground, open_ground
from mast_edge.runtime.latency import act_latency
from mast_edge.runtime.match import FIRST_SEED, seed_list_sha256
from mast_edge.runtime.opponents import Candidate, Reference, find_candidate, find_reference, own_weights
from mast_edge.runtime.parity import DEFAULT_MARGIN, check_margin
from mast_edge.runtime.shadow import SHADOW_EPISODES, shadow_pass
from mast_edge.runtime.team import BatchTeam
from mast_edge.runtime.verdict import Verdict
from mast_edge.runtime.verdict_card import verdict_card

OnProgress = Callable[[Progress], None]


def evaluate(
    *,
    run: str | None = None,
    artifact: str | Path | None = None,
    runtime: str = "csr",
    reference: str | None = None,
    episodes: int | None = None,
    design: str | None = None,
    margin: float = DEFAULT_MARGIN,
    env: str | None = None,
    decentralised: bool = False,
    step_seconds: float | None = None,
    root: Path | None = None,
    on_progress: OnProgress | None = None,
    on_remark: Callable[[str], None] | None = None,
) -> Verdict:
    """Judges an exported agent by paired greedy episodes, each agent shown its own observation only.

    Three passes: the candidate in the shadow of its own checkpoint (equal actions), paired episodes against
    the reference (equal win rate), and the time of single decisions. In a known run the verdict is also
    written to `eval/<runtime>-<hash>.json`, with a page for people beside it (`.md`).

    Args:
        run: run name or folder; None with no artifact = the latest complete run.
        artifact: exported file to judge instead of the run's.
        runtime: a name in `registry.RUNTIME_BACKENDS`.
        reference: see `opponents.find_reference`.
        episodes: one look at so many pairs; None = the design.
        design: "pocock" (what None means), "tapered" or "anytime"; excludes `episodes`.
        margin: largest loss of win rate that counts as parity, in (0, 1).
        env: environment to play in, "skirmish" or "smac"; None = the one the agent was trained in.
        decentralised: the candidate plays its battles through one process per agent.
        step_seconds: how long such a process may take to answer; None = `decentralised.STEP_SECONDS`.
        root: where run folders live; `runs.runs_root()` when None.
        on_progress: called after every batch of episodes.
        on_remark: told which run and reference were taken, one line each.

    Returns:
        The verdict; its `exit_code` is that of the command.

    Raises:
        UsageError: margin, episodes, design, runtime, env or step_seconds out of range.
        MissingInput: run, export, reference or optional package not there.
        ArtifactRefused: damaged, stale, or made for another map.
        EnvironmentUnavailable: the map cannot be played here, StarCraft II is missing, or it broke too often.
    """
    check_margin(margin)
    plan, patience = choose_design(design, episodes), check_step_seconds(step_seconds)
    tell = on_remark or (lambda _: None)
    candidate = find_candidate(run, artifact, runtime, root)
    if candidate.run is not None and candidate.run.remark:
        tell(candidate.run.remark)
    opponent = find_reference(candidate, reference, root)
    tell(f"playing with {runtime}, {candidate.agent.model.path_taken}")
    tell(f"judging {opponent.judged}: against {opponent.label}")
    with contextlib.ExitStack() as stack:
        alone = BATTLES if decentralised else None
        ground = stack.enter_context(
            contextlib.closing(open_ground(env or _home(candidate), candidate, alone))
        )
        apart = stack.enter_context(agents_apart(candidate, patience)) if decentralised else None
        verdict = _judge(ground, candidate, opponent, plan, margin, on_progress, apart)
    return _save(verdict, candidate)


def _home(candidate: Candidate) -> str:
    """Where the agent was trained, if that can be played in."""
    trained_in = candidate.agent.contract.env_backend
    return trained_in if trained_in in ENVIRONMENTS else "skirmish"


def _judge(
    ground: Ground,
    candidate: Candidate,
    opponent: Reference,
    design: Design,
    margin: float,
    on_progress: OnProgress | None,
    apart: DecentralisedTeam | None,
) -> Verdict:
    make_env, model = ground.make_env, candidate.agent.model
    _check_contracts(make_env, candidate, opponent)
    certificate, drift = _shadow(make_env, candidate, opponent, design, on_progress)
    ours, theirs = apart or BatchTeam(candidate.agent), BatchTeam(opponent.agent)
    order = None if ground.seeded else np.random.default_rng(FIRST_SEED)
    result = contest(make_env, ours, theirs, design, margin, on_progress, batch=ground.batch, order=order)
    decision, reason = decide(opponent.judged, result, margin, design, certificate)
    not_tested, apart_facts = _not_tested(opponent, certificate, ground), None
    if apart is not None:
        apart_facts = facts_apart(make_env if ground.seeded else None, candidate.agent, apart, on_progress)
        apart.close()
        decision, reason = qualified(decision, reason, apart_facts)
        not_tested += not_tested_apart(apart_facts)
    return Verdict(
        judged=opponent.judged,
        run=candidate.run.path.name if candidate.run else None,
        artifact=str(candidate.path),
        runtime=candidate.runtime,
        kernel=model.path_taken,
        reference=opponent.label,
        env=ground.backend,
        map_name=candidate.agent.contract.map_name,
        wins=result.wins,
        reference_wins=result.reference_wins,
        pairs=result.pairs,
        identical=result.identical,
        margin=margin,
        design=design,
        looks=result.looks,
        certificate=certificate,
        hidden_drift=drift,
        latency=act_latency(make_env, candidate.agent),
        decision=decision,
        reason=reason,
        facts=_facts(candidate, opponent, design, ground),
        not_tested=not_tested,
        decentralised=apart_facts,
        paired=ground.seeded,
        lost=result.lost,
        worst=result.worst,
    )


def _check_contracts(make_env: MakeEnv, candidate: Candidate, reference: Reference) -> None:
    env = make_env(1, FIRST_SEED)
    try:
        candidate.agent.contract.require(str(candidate.path), env.spec)
        reference.agent.contract.require(reference.label, env.spec)
    finally:
        env.close()


def _shadow(
    make_env: MakeEnv,
    candidate: Candidate,
    opponent: Reference,
    design: Design,
    on_progress: OnProgress | None,
) -> tuple[Certificate | None, float | None]:
    own = opponent if opponent.judged == "fidelity" else own_weights(candidate)
    if own is None:
        return None, None
    episodes = min(SHADOW_EPISODES, design.looks[-1])
    return shadow_pass(make_env, candidate.agent, own.agent, episodes, on_progress)


def _facts(candidate: Candidate, reference: Reference, design: Design, ground: Ground) -> dict[str, Any]:
    provenance, count = candidate.agent.model.provenance, design.looks[-1]
    seeds = {"first": FIRST_SEED, "count": count, "sha256": seed_list_sha256(FIRST_SEED, count)}
    return {
        "algorithm": candidate.algorithm,
        "method": candidate.method,
        "sparsity": provenance.get("sparsity"),
        "reference_run": reference.run.path.name if reference.run else None,
        "seeds": seeds if ground.seeded else None,
        "game": ground.facts,
        "sha256": {
            "artifact": candidate.agent.model.sha256,
            "checkpoint": candidate.checkpoint_sha256,
            "reference_checkpoint": reference.checkpoint_sha256,
            "config": _config_sha256(candidate.run),
        },
        "versions": versions(),
        "simulator": SIMULATOR_VERSION if ground.backend == "skirmish" else None,
        "host": {
            "machine": platform.machine(),
            "system": platform.system(),
            "processor": processor(),
            "flags": processor_flags(),
        },
    }


def _config_sha256(run: Run | None) -> str | None:
    return run.manifest.config_sha256 if run is not None else None


def _not_tested(reference: Reference, certificate: Certificate | None, ground: Ground) -> tuple[str, ...]:
    said = []
    if reference.own:
        said.append("whether it wins as often as a dense agent: the reference has the same weights")
    if certificate is None:
        said.append("whether this runtime takes the checkpoint's actions: the checkpoint is not at hand")
    said.append("the training recipe: one run says nothing about other seeds of training")
    if ground.facts is None:
        said.append("StarCraft II: every episode was played in the embedded simulator")
    elif is_stand_in(ground.facts):
        said.append("StarCraft II: SMAC played against its stand-in, which is the embedded simulator")
    else:
        version = ground.facts.get("game_version")
        said.append(f"other versions of StarCraft II than {version}: results do not carry over")
    return tuple(said)


def _save(verdict: Verdict, candidate: Candidate) -> Verdict:
    """Writes the verdict into its run; the name depends on what was asked, not on the clock."""
    if candidate.run is None:
        return verdict
    plan = [verdict.design.name, verdict.design.looks]
    asked = [verdict.facts["sha256"], verdict.reference, verdict.margin, *plan]
    asked += [] if verdict.env == "skirmish" else [verdict.env, verdict.facts["game"]]
    asked += [] if verdict.decentralised is None else [verdict.decentralised["step_seconds"]]
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:8]
    path = candidate.run.path / "eval" / f"{verdict.runtime}-{digest}.json"
    path.parent.mkdir(exist_ok=True)
    report = verdict.to_json()
    page = verdict_card(report)
    write_atomically(path, (json.dumps(report, indent=1) + "\n").encode())
    write_atomically(path.with_suffix(".md"), page.encode())
    return dataclasses.replace(verdict, saved=path)
