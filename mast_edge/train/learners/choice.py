"""Which learner trains a run."""

import functools
from collections.abc import Callable

import torch

from mast_edge.config_fields import ExperimentConfig
from mast_edge.errors import EnvironmentUnavailable, UsageError
from mast_edge.native import _core
from mast_edge.spec import EnvSpec
from mast_edge.train.learners.native import NativeLearner, supports
from mast_edge.train.learners.torch import TorchLearner

NAMES = ("auto", "torch", "native")


def chosen_device(device: str, learner: str = "auto") -> torch.device:
    """The device that is meant.

    Args:
        device: `auto` (CUDA when there is one and the learner can use it), `cpu` or `cuda`.
        learner: one of `NAMES`.

    Raises:
        UsageError: an unknown name, or the native learner on a GPU.
        EnvironmentUnavailable: the device is not there, or not the kernels that MAST_EDGE_KERNELS names.
    """
    try:
        _core.kernel_path()
    except RuntimeError as error:
        raise EnvironmentUnavailable(str(error)) from error
    if learner not in NAMES:
        raise UsageError(f"train: learner must be one of {', '.join(NAMES)}; got '{learner}'.")
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"train: device must be auto, cpu or cuda; got '{device}'.")
    if device == "cuda" and learner == "native":
        raise UsageError("train: device must be cpu for --learner native; got cuda. Use --learner torch")
    if device == "cuda" and not torch.cuda.is_available():
        raise EnvironmentUnavailable("train: device cuda must be present; got none. Use --device cpu")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() and learner != "native" else "cpu"
    return torch.device(device)


def chosen_learner(
    learner: str, device: torch.device, config: ExperimentConfig, env: EnvSpec, threads: int = 1
) -> Callable[..., TorchLearner]:
    """What makes the learner: `TorchLearner`, or another with its arguments.

    `auto` is the native one wherever it can work: it was faster on every map and at every sparsity measured,
    dense networks included (benchmarks/learner.py).

    Raises:
        EnvironmentUnavailable: the native learner was asked for and cannot train this.
    """
    able = device.type == "cpu" and supports(config, env)
    if learner == "native" and not able:
        raise EnvironmentUnavailable(
            "train: learner native must know the algorithm, with at most 64 agents; got "
            f"{config.algorithm} with {env.n_agents}. Use --learner torch"
        )
    return functools.partial(NativeLearner, threads=threads) if able and learner != "torch" else TorchLearner
