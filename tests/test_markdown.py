"""Text from files in Markdown pages."""

import pytest

from mast_edge.markdown import escaped, markdown_table


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, 0.95", "plain text, 0.95"),
        ("a|b", "a\\|b"),
        ("[x](y)", "\\[x\\](y)"),
        ("<b>&amp;", "\\<b\\>\\&amp;"),
        ("two\nlines\tand  more", "two lines and more"),
        ("right\u202eleft\x07", "right?left?"),
        (None, "unknown"),
        (["avx2", "fma"], "avx2, fma"),
        ("x" * 500, "x" * 200),
    ],
)
def test_escaping(text, shown):
    assert escaped(text) == shown


def test_tables_escape_their_cells():
    assert markdown_table(["a", "b"], [[1, "x|y"]]) == "| a | b |\n| --- | --- |\n| 1 | x\\|y |"
