"""Evidence that may be looked at after any pair: the wealth of someone who bets against a claim.

Against "the candidate is worse by the margin or more" a player starts with E = 1 and stakes on every pair
before it is played: E is multiplied by 1 + L (D + m), with D = 1 gained, -1 lost, 0 alike. Where the claim is
true no stake gains on average, so that E ever reaches 20 has probability 1 / 20 at most (Ville), whenever one
looks.

The stake is a mixture: shares of the money follow constant L, from the largest allowed down to a quarter of
it. What is left of each share decides how much it weighs, so the L of the next pair comes from the past only,
moves by itself to what the discordance calls for, and E depends on the counts alone.

Source: parity_and_safety.md section 3, `--anytime`; Waudby-Smith and Ramdas 2024, "Estimating means of
bounded random variables by betting".
"""

import math
from collections.abc import Iterator

from mast_edge.runtime.parity import Pairs

STAKES = (1.0, 0.5, 0.25)
"""Parts of the largest stake. Where all is equal the whole is best, at 10 % discordance a quarter."""
SHARES = (0.4, 0.2, 0.4)
"""Of the money, one per stake."""
LARGEST_LOSS = 0.9
"""Part of the wealth that one pair may take."""
_LOG_LIMIT = 690.0


def e_not_worse(pairs: Pairs, margin: float) -> float:
    """Evidence against "worse by the margin or more"; at most 1 on average where that is true.

    Args:
        pairs: outcomes in the order of play; only the counts matter.
        margin: in (-1, 1).
    """
    return _mixed(pairs, margin, LARGEST_LOSS / (1 - margin), 1)


def e_worse(pairs: Pairs, margin: float) -> float:
    """Evidence against "not worse by the margin": the same game, with stakes on losses."""
    return _mixed(pairs, margin, LARGEST_LOSS / (1 + margin), -1)


def next_stake(pairs: Pairs, margin: float) -> float:
    """L of the pair after `pairs` in the game of `e_not_worse`: the stakes, weighed by what each has left."""
    most = LARGEST_LOSS / (1 - margin)
    logs = list(_logs(pairs, margin, most, 1))
    largest = max(logs)
    weights = [math.exp(log - largest) for log in logs]
    return most * sum(w * s for w, s in zip(weights, STAKES, strict=True)) / sum(weights)


def _mixed(pairs: Pairs, margin: float, most: float, sign: int) -> float:
    logs = list(_logs(pairs, margin, most, sign))
    largest = max(logs)
    total = largest + math.log(sum(math.exp(log - largest) for log in logs))
    return math.exp(min(total, _LOG_LIMIT))


def _logs(pairs: Pairs, margin: float, most: float, sign: int) -> Iterator[float]:
    """log of what is left of each share."""
    alike = pairs.n - pairs.lost - pairs.gained
    for stake, share in zip(STAKES, SHARES, strict=True):
        bet = sign * stake * most
        yield (
            math.log(share)
            + pairs.lost * math.log1p(bet * (margin - 1))
            + pairs.gained * math.log1p(bet * (margin + 1))
            + alike * math.log1p(bet * margin)
        )
