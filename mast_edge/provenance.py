"""What made a result: versions and source commit, found without importing anything heavy."""

import platform
from pathlib import Path

from mast_edge import __version__

VECTOR_FLAGS = {
    *("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512_vnni"),
    *("neon", "asimd", "sve"),
}
PACKAGES = ("numpy", "torch", "onnx", "onnxruntime", "safetensors")


def installed_version(package: str) -> str | None:
    """Version of an installed distribution, without importing it; None when it is absent."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Name -> version of Python, this package, and those of `PACKAGES` that are installed."""
    found = {"python": platform.python_version(), "mast-edge": __version__}
    for package in PACKAGES:
        version = installed_version(package)
        if version is not None:
            found[package] = version
    return found


def simulator_versions(backend: str) -> dict[str, str]:
    """Version of the embedded simulator by its name; empty for another environment backend."""
    if backend != "skirmish":
        return {}
    from mast_edge.envs.skirmish import SIMULATOR_VERSION

    return {backend: str(SIMULATOR_VERSION)}


def processor() -> str:
    """Model name of the CPU, where the system tells."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def processor_flags() -> list[str]:
    """Vector and fused instructions that the CPU has, where the system tells: what kernels may use."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return []
    for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, flags = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return sorted(VECTOR_FLAGS & set(flags.split()))
    return []


def git_commit() -> str | None:
    """Commit of the source tree this package runs from; None when it is installed without one."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    import subprocess

    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
