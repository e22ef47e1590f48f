from mast_edge.errors import shown


def test_values_of_others_are_shown_short_and_on_one_line():
    assert shown("csr") == "'csr'"
    assert shown({"kind": "csr", "nnz": 3}) == "{'kind': 'csr', 'nnz': 3}"
    assert shown("\x1b[2J\n\u202e") == r"'\x1b[2J\n\u202e'"
    for value in (
        "x" * 10**6,
        ["y" * 10**6] * 1000,
        {"k" * 10**5: {"v": [1] * 10**5}},
        10**15,
        None,
        [[[[[[[0]]]]]]],
    ):
        assert len(shown(value)) <= 80
        assert shown(value).isprintable()
    assert shown("abcdef", 3) == "'ab"


def test_only_what_is_shown_is_written_out():
    """A million control characters would be four million letters."""
    import tracemalloc

    text = ["\U0001f40d" + "\x7f" * 10**6]
    tracemalloc.start()
    shown(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000
