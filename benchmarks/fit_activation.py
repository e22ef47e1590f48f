"""Fits the rational tanh of the native kernels and prints its coefficients and its error in float32.

tanh(x) = x P(x^2) / Q(x^2), P of degree 6, Q of degree 3 with Q(0) = 1, |x| clamped at `CLAMP`. Least
squares on the linearised problem, re-weighted until the largest error no longer falls (Sanathanan-Koerner
with Lawson weights).

Source: runtime.md section 5, "Activations". Run: python benchmarks/fit_activation.py
"""

import numpy as np

CLAMP = 7.9
P_DEGREE, Q_DEGREE = 6, 3


def fit(rounds: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (P, Q) in rising powers of x^2, float64."""
    x = CLAMP * np.cos(np.linspace(0, np.pi / 2, 4001))[:-1]
    target = np.tanh(x)
    u = (x / CLAMP) ** 2
    powers_p = x[:, None] * u[:, None] ** np.arange(P_DEGREE + 1)
    powers_q = u[:, None] ** np.arange(1, Q_DEGREE + 1)
    lawson, denominator = np.ones_like(x), np.ones_like(x)
    best: tuple[float, np.ndarray] = (np.inf, np.zeros(0))
    for _ in range(rounds):
        weight = np.sqrt(lawson) / denominator
        system = np.hstack([powers_p, -target[:, None] * powers_q]) * weight[:, None]
        solution = np.linalg.lstsq(system, target * weight, rcond=None)[0]
        denominator = 1 + powers_q @ solution[P_DEGREE + 1 :]
        error = np.abs(powers_p @ solution[: P_DEGREE + 1] / denominator - target)
        if error.max() < best[0]:
            best = (float(error.max()), solution.copy())
        lawson *= error / error.max() + 1e-3
        lawson /= lawson.mean()
    scale = CLAMP ** (-2.0 * np.arange(P_DEGREE + 1))
    solution = best[1]
    p = solution[: P_DEGREE + 1] * scale
    q = np.concatenate([[1.0], solution[P_DEGREE + 1 :] * scale[1 : Q_DEGREE + 1]])
    return p, q


def evaluate(p: np.ndarray, q: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The kernel's formula in float32: Horner from the highest power, one division."""
    p32, q32 = p.astype(np.float32), q.astype(np.float32)
    x = np.clip(x.astype(np.float32), np.float32(-CLAMP), np.float32(CLAMP))
    u = x * x
    top, bottom = np.full_like(x, p32[-1]), np.full_like(x, q32[-1])
    for coefficient in p32[-2::-1]:
        top = top * u + coefficient
    for coefficient in q32[-2::-1]:
        bottom = bottom * u + coefficient
    return x * top / bottom


def main() -> None:
    """Prints C initialisers (hexadecimal floats) and the error against float64 tanh over a dense grid."""
    p, q = fit()
    grid = np.linspace(-12, 12, 4_000_001)
    tanh_error = np.abs(evaluate(p, q, grid) - np.tanh(grid)).max()
    half = np.float32(0.5)
    sigmoid = half + half * evaluate(p, q, np.float32(0.5) * grid.astype(np.float32))
    sigmoid_error = np.abs(sigmoid - 1 / (1 + np.exp(-grid))).max()
    print("P:", ", ".join(float(c).hex() if False else f"{np.float32(c)!r}" for c in p))
    print("Q:", ", ".join(f"{np.float32(c)!r}" for c in q))
    print(f"max abs error: tanh {tanh_error:.3g}, sigmoid {sigmoid_error:.3g}")


if __name__ == "__main__":
    main()
