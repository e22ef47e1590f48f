"""What loading a file costs: peak memory and time, each file in a process of its own.

Run: python -m tests.loading BACKEND FILE... -> one JSON object per file and line. Linux only.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SLACK = 16 * 2**20
"""Peak memory <= 4 x file + SLACK (runtime.md section 3)."""


def loaded(backend: str, files: Sequence[Path]) -> list[dict[str, Any]]:
    """For each file: outcome, exit_code, message, seconds (of CPU), growth and allowed (bytes)."""
    command = [sys.executable, "-m", "tests.loading", backend, *map(str, files)]
    # Where address space is short, a linear algebra library waits for its threads for ever.
    alone = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=alone, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def _status(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def _load(backend: str, path: str) -> dict[str, Any]:
    """Loads and plays three steps. More address space than promised is not to be had."""
    import numpy as np

    from mast_edge.errors import MastEdgeError
    from mast_edge.runtime import Agent

    allowed = 4 * os.stat(path).st_size + SLACK
    resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
    if backend != "onnx":  # It reserves far more than it takes.
        limit = _status("VmSize") + allowed + 2 * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    before, begin = _status("VmRSS"), time.process_time()
    found: dict[str, Any] = {"file": path, "outcome": "loaded", "exit_code": 0, "message": ""}
    try:
        agent = Agent.load(path, backend=backend)
        found["seconds"] = time.process_time() - begin
        obs, avail = np.ones(agent.spec.obs_dim, np.float32), np.ones(agent.spec.n_actions, np.uint8)
        for _ in range(3):
            agent.act(obs, avail)
        if not np.isfinite(agent.last_q).all():
            found["outcome"] = "Q not finite"
    except MastEdgeError as error:
        found |= {"outcome": type(error).__name__, "exit_code": error.exit_code, "message": str(error)}
    except BaseException as error:
        found |= {"outcome": f"{type(error).__name__}: {error}", "exit_code": 1}
    found.setdefault("seconds", time.process_time() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return found | {"growth": peak - before, "allowed": allowed}


def main(backend: str, files: Sequence[str]) -> None:
    """Loads a small agent first, so that imports count for nothing, then forks for each file."""
    import numpy as np

    from mast_edge.runtime import Agent

    small = ROOT / "tests/data/artifacts/agent_v1.safetensors"
    if backend != "onnx":
        agent = Agent.load(small, backend=backend)
        agent.act(np.zeros(agent.spec.obs_dim, np.float32), np.ones(agent.spec.n_actions, np.uint8))
    for path in files:
        child = os.fork()
        if child == 0:
            print(json.dumps(_load(backend, path)), flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            row = {"file": path, "outcome": f"ended with status {status}", "exit_code": 1, "message": ""}
            print(json.dumps(row | {"seconds": 0, "growth": 0, "allowed": 0}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
