"""Draws of the battle: Philox 4x32 with 10 rounds. Source: smac.md 9.1."""

N_ROUNDS = 10
SPAWN, WEAPON_DELAY, GOAL_POINT, SIDESTEP = range(4)    # purposes


def philox(counter, key):
    """Four words from a counter of four words and a key of two."""
    c, k = list(counter), list(key)
    for _ in range(N_ROUNDS):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


class Draws:
    """The draws of one episode: each stands alone, by its loop, purpose, unit and number."""

    def __init__(self, seed, episode):
        self.key = (seed & 0xFFFFFFFF, seed >> 32)
        self.episode = episode

    def below(self, n, loop, purpose, unit, number=0):
        word = philox((self.episode, loop, purpose * 65536 + unit, number), self.key)[0]
        return (word * n) >> 32
