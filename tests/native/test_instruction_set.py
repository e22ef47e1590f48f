"""Which kernels are taken, and what happens to wishes that cannot be fulfilled."""

import os
import re
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from mast_edge.native import _core

SETS = _core.instruction_sets()
LIST = ", ".join(SETS)


def gates() -> bytes:
    """Bits from the kernels of tiles.hpp."""
    states, gates = np.empty((1, 16), np.float32), np.empty((1, 64), np.float32)
    from_input, b_hh = np.random.default_rng(0).normal(size=(2, 1, 48)).astype(np.float32)
    w_hh = np.zeros((48, 16), np.float32)
    _core.gru_forward(np.array([1]), from_input, w_hh, b_hh[0], states, gates)
    return gates.tobytes()


def steps() -> bytes:
    """Bits from the kernels of panels.hpp."""
    weights, gradient, square_avg = np.random.default_rng(0).random((3, 64)).astype(np.float32)
    _core.rmsprop(weights, gradient, square_avg, 0.7, 0.1, 0.9, 1e-5)
    return square_avg.tobytes()


def test_there_is_one_for_every_cpu() -> None:
    assert [name for name in ("avx512", "avx2", "plain") if name in SETS] == SETS
    assert SETS[-1] == "plain"
    assert _core.kernel_path() in SETS


def test_a_choice_is_the_one_in_use(instruction_set) -> None:
    assert _core.kernel_path() == instruction_set


@pytest.mark.skipif(len(SETS) == 1, reason="this CPU has no other kernels")
@pytest.mark.parametrize("bits", [gates, steps])
def test_a_choice_switches_tiles_and_panels(bits: Callable[[], bytes]) -> None:
    before = _core.kernel_path()
    found = []
    for name in (SETS[0], "plain", SETS[0]):
        _core.use_instruction_set(name)
        found.append(bits())
    _core.use_instruction_set(before)
    assert found[0] == found[2] != found[1]  # plain does not fuse


def test_an_unknown_choice_is_refused_and_changes_nothing(instruction_set) -> None:
    message = f"kernels: name must be an instruction set that this CPU has, of {LIST}; got abacus."
    with pytest.raises(ValueError, match=re.escape(message)):
        _core.use_instruction_set("abacus")
    assert _core.kernel_path() == instruction_set


def output(code: str, asked: str) -> str:
    """What a new process prints whose environment asks for kernels."""
    program = [sys.executable, "-c", f"from mast_edge.native import _core\nimport numpy as np\n{code}"]
    environment = {**os.environ, "MAST_EDGE_KERNELS": asked}
    return subprocess.run(program, env=environment, check=True, capture_output=True, text=True).stdout.strip()


USES = """
for use in (
    _core.kernel_path,
    lambda: _core.all_finite(np.ones(3, np.float32)),
    lambda: _core.gru_forward(
        np.array([1]), *(np.ones(s, "f") for s in ((1, 48), (48, 16), 48, (1, 16), (1, 64)))
    ),
):
    try:
        use()
    except RuntimeError as error:
        print(error)
_core.use_instruction_set("plain")
print(_core.kernel_path())
"""


def test_a_wish_that_cannot_be_fulfilled_is_an_error_of_the_first_use() -> None:
    message = (
        f"kernels: MAST_EDGE_KERNELS must be an instruction set that this CPU has, of {LIST}; got v4. "
        "Change or unset it."
    )
    assert output(USES, "v4").splitlines() == [message, message, message, "plain"]
