"""Lets another process load an ONNX file with onnxruntime first: what crashes or hangs, does so there.

The other process may take only so much time and memory and may write no file. Once per content and process:
a second agent from the same file is not tried again.

Source: parity_and_safety.md section 6, "ONNX input": child process, rlimit, timeout.
"""

import json
import subprocess
import sys

from mast_edge.errors import ArtifactMalformed

SECONDS, WALL_SECONDS = 10.0, 30.0
"""Of processor time and of wall time: a fair file takes half a second of either."""
MEMORY = 256 * 2**20
"""Beyond what importing takes and eight times the file."""
PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
import numpy, onnxruntime
data = sys.stdin.buffer.read()
try:
    import resource
except ImportError:
    resource = None
if resource is not None:
    limits = {resource.RLIMIT_CPU: int(float(sys.argv[2])), resource.RLIMIT_FSIZE: 0, resource.RLIMIT_CORE: 0}
    try:
        pages = int(open("/proc/self/statm").read().split()[0])
        limits[resource.RLIMIT_AS] = pages * resource.getpagesize() + 8 * len(data) + int(sys.argv[3])
    except OSError:
        pass
    for limit, most in limits.items():
        resource.setrlimit(limit, (most, most))
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
options.log_severity_level = 4
try:
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    inputs = {}
    for port in session.get_inputs():
        shape = [size if isinstance(size, int) else 1 for size in port.shape]
        inputs[port.name] = numpy.ones(shape, bool if port.type == "tensor(bool)" else numpy.float32)
    session.run(None, inputs)
except Exception as problem:
    print(f"{type(problem).__name__}: {problem}"[:300])
    sys.exit(3)
"""
"""Arguments: the search path for packages, seconds, bytes. The model comes on standard input."""

_passed: set[str] = set()


def try_elsewhere(who: str, data: bytes, sha256: str) -> None:
    """Loads a model and runs a step of it in another process.

    Args:
        who: file name, for messages.
        data: the model.
        sha256: of `data`.

    Raises:
        ArtifactMalformed: the other process failed, crashed, or took more than it may.
    """
    if sha256 in _passed:
        return
    arguments = [json.dumps(sys.path), str(SECONDS), str(MEMORY)]
    command = [sys.executable, "-c", PROGRAM, *arguments]
    try:
        done = subprocess.run(
            command,
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=WALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as problem:
        raise _refusal(who, f"none after {WALL_SECONDS:.0f} seconds") from problem
    if done.returncode:
        said = done.stdout.decode("utf-8", "replace").strip()
        raise _refusal(who, said or f"a process that ended with {done.returncode}")
    _passed.add(sha256)


def _refusal(who: str, found: str) -> ArtifactMalformed:
    return ArtifactMalformed(
        f"{who}: model must be one that onnxruntime loads; got {ascii(found)[1:-1]:.200}. Export again."
    )
