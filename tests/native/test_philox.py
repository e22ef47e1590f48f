"""Known answers of Philox 4x32-10 (Salmon et al. 2011; smac.md 9.1)."""

from mast_edge.native import _core
from tests.envs.reference import philox


def test_known_answers() -> None:
    assert list(_core.philox([0, 0, 0, 0], 0, 0)) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    pi = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]
    expected = [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]
    assert list(_core.philox(pi, 0xA4093822, 0x299F31D0)) == expected
    assert philox(pi, (0xA4093822, 0x299F31D0)) == expected    # the tests' own version
