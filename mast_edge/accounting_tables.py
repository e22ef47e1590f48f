"""Accounts for people: Rule R beside the paper first, then what is real, then what was measured.

Many configs share one table of each kind; a few, or `layers`, get theirs layer by layer.

Source: accounting.md 5 to 8.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mast_edge import published

if TYPE_CHECKING:
    from rich.table import Table

Row = Mapping[str, Any]
FEW = 3
"""Configs that are shown layer by layer without being asked."""
RULE = "Rule R: formulas that reproduce the paper's table; a FLOPs ratio is not a speed-up"
KEPT = "Rule R: formulas. kept: integer masks, what training holds"
KINDS = {"dense": "dense", "sparse": "Rule R", "realised": "kept"}
"""Field of a row -> what it is called."""
TOTALS = (
    ("agent, parameters", "agent_params", None),
    ("mixer, parameters", "mixer_params", None),
    ("all networks with targets", "total_size", "total_size_ratio"),
    ("FLOPs of an update, per sample", "train_flops", "train_flops_ratio"),
    ("FLOPs of one decision", "test_flops", "test_flops_ratio"),
)
"""Label, key of `accounting.absolutes`, and the published column it has."""
COLUMNS = dict(zip(published.COLUMNS, ("Total Size", "FLOPs (Train)", "FLOPs (Test)"), strict=True))


def account_tables(result: Mapping[str, Any], layers: bool = False) -> list["Table | str"]:
    """The result of `account` or `account_configs` as tables and lines.

    Args:
        result: a `mast-edge/account/1` object.
        layers: show every layer, however many configs there are.
    """
    from mast_edge.costs.tables import real_tables

    rows = result["rows"]
    detailed = layers or len(rows) <= FEW
    shown: list[Table | str] = []
    if len(rows) > FEW:
        shown += [_ratios(rows), *_remarks(rows, result["published"]), _sizes(rows), _flops(rows)]
    for row in rows if detailed else ():
        if len(rows) <= FEW:
            shown += [_totals(row), *_remarks([row], None)]
        shown.append(_layers(row))
    if len(rows) <= FEW:
        shown += _counted(result["published"])
    if "real" in rows[0]:
        shown += real_tables({agent_label(row): row["real"] for row in rows}, detailed)
    return shown


def config_label(row: Row) -> str:
    """The variant, or the file's name."""
    return str(row["variant"] or Path(row["config"]).stem)


def agent_label(row: Row) -> str:
    """What an agent's costs depend on: map, zeros, and what is unusual."""
    agent = [at for at in row["layers"] if at["network"] == "agent"]
    patterns = dict.fromkeys(at["pattern"] for at in agent if at["pattern"] not in ("element", "dense"))
    width = agent[0]["shape"][0]
    words = [row["map"], f"{row['sparsity']:.0%}", *(["tiny"] if row["method"] == "tiny" else []), *patterns]
    return " ".join([*words, *([f"H {width}"] if width != 64 else [])])


def table(
    title: str, words: int, heads: Sequence[str], rows: Iterable[Sequence[str]], caption: str | None = None
) -> "Table":
    """A table whose first `words` columns are words; the others are numbers and stand to the right.

    No column is narrower than its longest word: a number without its last digits is another number.
    """
    from rich.table import Table

    body = list(rows)
    # Without a margin at its edges the widest table fits a terminal of 80 columns.
    made = Table(title=title, title_justify="left", caption=caption, caption_justify="left", pad_edge=False)
    for at, head in enumerate(heads):
        longest = max(
            len(word) for cell in (head, *(row[at] for row in body)) for word in (cell.split() or [""])
        )
        justify: Literal["left", "right"] = "left" if at < words else "right"
        made.add_column(head, justify=justify, no_wrap=at == 0, min_width=longest)
    for row in body:
        made.add_row(*row)
    return made


def number(value: float | None, decimals: int = 0) -> str:
    """With commas; `-` for None."""
    return "-" if value is None else f"{value:,.{decimals}f}"


def _ratios(rows: Sequence[Row]) -> "Table":
    """Rule R of many configs, the paper's values beside where there are some."""
    beside = any(row["published"] for row in rows)
    methods = list(dict.fromkeys(row["method"] for row in rows))
    heads = ["config", *(["method"] if len(methods) > 1 else []), "zeros"]
    for name in COLUMNS.values():
        head = name.replace("(", "").replace(")", "")
        heads += [head, "paper"] if beside else [head]
    body = []
    for row in rows:
        method = [row["method"]] if len(methods) > 1 else []
        cells = [config_label(row), *method, f"{row['sparsity']:.0%}"]
        for column in COLUMNS:
            cells += [_marked(row, column), _printed(row, column)] if beside else [_marked(row, column)]
        body.append(cells)
    alike = f"{methods[0]}: " if len(methods) == 1 else ""
    title = f"{alike}sparse over dense by Rule R" + (", beside Table 1 of the paper" if beside else "")
    return table(title, heads.index("zeros"), heads, body, RULE)


def _marked(row: Row, column: str) -> str:
    missed = row["published"] is not None and not row["published"]["agrees"][column]
    return f"{row[column]:.3f}" + ("*" if missed else "")


def _printed(row: Row, column: str) -> str:
    return "-" if row["published"] is None else f"{row['published'][column]:.3f}"


def _remarks(rows: Sequence[Row], summary: Row | None) -> list["Table | str"]:
    """Why a cell differs, then how many agree."""
    notes = dict.fromkeys(row["note"] for row in rows if row["note"])
    return [*(f"* {note}" for note in notes), *_counted(summary)]


def _counted(summary: Row | None) -> list["Table | str"]:
    if summary is None:
        return []
    said = f"{summary['agree']} of {summary['cells']} cells of Table 1 agree at the three decimals it prints."
    if not summary["averages"]:
        return [said]
    heads = ["algorithm", "column", "Rule R, mean", "of printed", "paper"]
    body = [
        [
            *(mean["algorithm"], COLUMNS[mean["column"]], f"{mean['mean']:.5f}", f"{mean['of_printed']:.3f}"),
            f"{mean['published']:.3f}" + ("" if mean["agrees"] else " *"),
        ]
        for mean in summary["averages"]
    ]
    return [said, table("Averages over the four maps", 2, heads, body, summary["note"])]


def _sizes(rows: Sequence[Row]) -> "Table":
    heads = ["config", *(f"{part} {kind}" for part in ("agent", "all") for kind in KINDS.values())]
    body = [[config_label(row), *_three(row, "agent_params"), *_three(row, "total_size")] for row in rows]
    return table("Parameters: one agent, and all networks with targets", 1, heads, body, KEPT)


def _flops(rows: Sequence[Row]) -> "Table":
    heads = ["config", *(f"{part} {kind}" for part in ("update", "act") for kind in KINDS.values())]
    body = [[config_label(row), *_three(row, "train_flops"), *_three(row, "test_flops")] for row in rows]
    return table("Rule R FLOPs: an update per sample, and one decision of one agent", 1, heads, body, RULE)


def _three(row: Row, key: str) -> list[str]:
    return [number(row[kind][key]) for kind in KINDS]


def _totals(row: Row) -> "Table":
    """One config: what is counted, dense and sparse, by formula and as kept."""
    narrowed = "as many parameters as with " if row["method"] == "tiny" else ""
    what = f"{row['algorithm']} {row['method']} on {row['map']}, {narrowed}{row['sparsity']:.0%} zeros"
    chosen = f" --variant {row['variant']}" if row["variant"] else ""
    body = []
    for label, key, column in TOTALS:
        dense, sparse, kept = (row[kind][key] for kind in KINDS)
        rule = f"{sparse / dense:.3f}" if dense else "-"  # VDN has no mixer
        if column:
            rule = _marked(row, column)
        shares = [rule, _printed(row, column) if column else "-", f"{kept / dense:.5f}" if dense else "-"]
        body.append([label, *_three(row, key), *shares])
    heads = ["", *KINDS.values(), "Rule R / dense", "paper", "kept / dense"]
    return table(f"{row['config']}{chosen}: {what}", 1, heads, body, f"{RULE}. kept: integer masks")


def _layers(row: Row) -> "Table":
    heads = ["network", "layer", "pattern", "out x in", "kept", "density", "target"]
    heads += ["FLOPs dense", "FLOPs kept"]
    body = [
        [
            *(at["network"], at["name"], at["pattern"], f"{at['shape'][0]} x {at['shape'][1]}"),
            *(f"{at['nnz']:,}", f"{at['density']:.4f}", f"{at['target_density']:.4f}"),
            *(number(at["dense_flops"]), number(at["flops"])),
        ]
        for at in row["layers"]
    ]
    caption = "target: Erdos-Renyi. FLOPs of one forward pass, Rule R's at the density kept"
    return table(f"{config_label(row)}: layers that training keeps", 3, heads, body, caption)
