# --- simulator ---

# --- agent kernels ---

# --- training kernels ---

import numpy as np
from numpy.typing import NDArray

def gru_forward(
    alive: NDArray[np.int64],
    from_input: NDArray[np.float32],
    w_hh: NDArray[np.float32],
    b_hh: NDArray[np.float32],
    hidden: NDArray[np.float32],
    gates: NDArray[np.float32] | None,
) -> None: ...
def gru_backward(
    alive: NDArray[np.int64],
    w_hh: NDArray[np.float32],
    hidden: NDArray[np.float32],
    gates: NDArray[np.float32],
    d_hidden: NDArray[np.float32],
    d_input: NDArray[np.float32],
    d_recurrent: NDArray[np.float32],
) -> None: ...
