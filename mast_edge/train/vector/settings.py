"""What may differ between runs trained at once: numbers that formulas use, and branches they take."""

from collections.abc import Mapping

import msgspec
from torch import Tensor

from mast_edge.config_fields import ExperimentConfig

Branches = tuple[str, bool, str, float, int]


def branches(config: ExperimentConfig, t_env: int) -> Branches:
    """The settings that a loss branches on: runs that agree in them share every launch.

    Returns:
        Operator, availability of candidates, return rule at this step, and its lambda and n.
    """
    target = config.target
    returns = "one_step" if t_env < target.start else target.returns
    lambda_ = target.lambda_ if returns == "td_lambda" else 0.0
    n = target.n_step if returns == "n_step" else 1
    return target.operator, target.mask_unavailable, returns, lambda_, n


def numbers(config: ExperimentConfig) -> dict[str, float]:
    """The settings that only enter formulas."""
    target = config.target
    return {
        "gamma": config.gamma,
        "alpha": target.alpha,
        "omega": target.omega,
        "beta": target.beta,
        "penalty": config.res.penalty,
        "ow_alpha": config.ow_qmix.alpha,
    }


def with_numbers(config: ExperimentConfig, returns: str, n: Mapping[str, Tensor]) -> ExperimentConfig:
    """The config for formulas: one run's `numbers` as tensors, and a return rule that holds at every step."""
    replace = msgspec.structs.replace
    operators = {name: n[name] for name in ("alpha", "omega", "beta")}
    return replace(
        config,
        gamma=n["gamma"],
        target=replace(config.target, returns=returns, start=0, **operators),
        res=replace(config.res, penalty=n["penalty"]),
        ow_qmix=replace(config.ow_qmix, alpha=n["ow_alpha"]),
    )
