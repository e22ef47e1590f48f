"""The instructions an act may take: counts kept beside the script, for agents that stay the same."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BUDGET = Path(__file__).resolve().parent / "budget.json"
GROWTH = 0.10
"""How far above the kept count is still within budget."""

Budget = Mapping[str, Any]


def load_budget(path: Path = BUDGET) -> dict[str, Any]:
    """Checkpoint SHA-256 -> case, compilers by target, instructions (`counts`) by target and variant."""
    if not path.is_file():
        return {}
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return kept


def exceeded(budget: Budget, rows: Sequence[Mapping[str, Any]], compilers: Mapping[str, str]) -> list[str]:
    """What takes more than `GROWTH` above the kept count; an agent, target or variant not kept may take any.

    Args:
        budget: as `load_budget` gives it.
        rows: with `name`, `case`, `checkpoint_sha256`, `target` and `value`.
        compilers: target -> version used now.
    """
    found = []
    for row in rows:
        target, kept = row["target"], budget.get(row["checkpoint_sha256"], {"counts": {}})
        allowed = kept["counts"].get(target, {}).get(row["name"])
        if allowed is not None and row["value"] is not None and row["value"] > (1 + GROWTH) * allowed:
            found.append(
                f"{row['case']} {row['name']} on {target}: instructions per act must be at most "
                f"{100 * GROWTH:.0f} % above {allowed:,.0f} ({kept['compilers'][target]}); got "
                f"{row['value']:,.0f} ({compilers[target]}). Make it cheaper, or keep the new count with "
                "--write-budget."
            )
    return found


def write_budget(result: Mapping[str, Any], path: Path = BUDGET) -> None:
    """Keeps the counts of all agents of a result; what it did not count stays as it was."""
    budget = load_budget(path)
    for row in result["rows"]:
        if row["value"] is not None:
            empty = {"case": row["case"], "compilers": {}, "counts": {}}
            kept, target = budget.setdefault(row["checkpoint_sha256"], empty), row["target"]
            kept["counts"].setdefault(target, {})[row["name"]] = row["value"]
            kept["compilers"][target] = result["host"]["compilers"][target]
    path.write_text(json.dumps(budget, indent=1, sort_keys=True) + "\n", encoding="utf-8")
