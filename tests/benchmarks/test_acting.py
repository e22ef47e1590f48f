"""The acting benchmark: all cases of a map, and ratios by hand."""

import pytest

from benchmarks.acting import benchmark_acting, line_of, rows_of


def test_rows_of_a_short_run() -> None:
    lines: list[str] = []
    result = benchmark_acting(["3m"], rounds=1, seconds=0.001, tell=lines.append)
    assert result["schema"] == "mast-edge/benchmark/1"
    assert result["host"]["instruction_set"] in ("avx512", "avx2", "plain")
    rows = {(row["case"], row["name"]): row for row in result["rows"]}
    assert len(lines) == len(rows) == len(result["rows"])
    for n_envs in (1, 8, 32):
        native = rows[f"3m E={n_envs}", "native"]
        assert {"numpy", "torch"} <= set(native["ratios"])
        assert native["ratios"]["numpy"] > 1
        assert native["unit"] == "team steps/s"
    for case in ("3m E=1 epsilon=0.05", "3m E=32 epsilon=0.0"):
        assert set(rows[case, "rollout"]["ratios"]) == {"rollout_steps", "rollout_numpy"}
        assert rows[case, "rollout"]["ratios"]["rollout_numpy"] > 1
        assert rows[case, "rollout"]["unit"] == "us/environment step"


def test_values_and_ratios_by_hand() -> None:
    taken = {"native": [1e-6, 2e-6, 4e-6], "numpy": [8e-6, 10e-6, 8e-6]}
    native, numpy = rows_of(taken, "3m E=1", "team steps/s")
    # 8, 5 and 2 times faster, round by round
    assert (native["value"], native["spread"], native["ratios"]) == (500_000, [250_000, 1e6], {"numpy": 5})
    assert (numpy["value"], numpy["ratios"]) == (125_000, {"native": 0.2})
    assert line_of(native).endswith("500,000 team steps/s         5x numpy")
    (step,) = rows_of({"rollout": [7e-6, 5e-6, 6e-6]}, "3m E=1 epsilon=0.05", "us/environment step")
    assert step["value"] == pytest.approx(6)
    assert step["spread"] == pytest.approx([5, 7])
    assert step["ratios"] == {}
