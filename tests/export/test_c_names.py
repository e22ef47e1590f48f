import pytest

from mast_edge.errors import UsageError
from mast_edge.export.c_names import checked_prefix, renamed


@pytest.mark.parametrize("prefix", ["agent", "A", "marine_3", "Team2", "x" * 22])
def test_free_names(prefix):
    assert checked_prefix(prefix) == prefix


@pytest.mark.parametrize(
    "prefix",
    [
        *("", "3m", "a-b", "a b", "a\n", "a.b", "../a", "a/b", "ä", "a*/", 'a"', "%s", "x" * 23),
        *("int", "while", "main", "restrict", "_a", "__x", "stdint", "float", "String", "con", "AUX"),
    ],
)
def test_names_that_c_or_a_file_system_has_taken(prefix):
    with pytest.raises(UsageError, match="prefix must"):
        checked_prefix(prefix)


def test_every_name_takes_the_prefix():
    text = '#include "agent.h"\nint agent_act(agent_state *s); /* agent.c, AGENT_H, an agent */'
    assert renamed(text, "mine") == (
        '#include "mine.h"\nint mine_act(mine_state *s); /* mine.c, MINE_H, an agent */'
    )
