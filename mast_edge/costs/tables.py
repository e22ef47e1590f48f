"""What agents really cost, for people (`AgentCosts.to_json`): bytes, operations, times.

Source: accounting.md 7 and 8.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mast_edge.accounting_tables import number, table

if TYPE_CHECKING:
    from rich.table import Table

Costs = Mapping[str, Any]
PARTS = ("values", "indices", "pointers", "biases", "scales", "golden", "padding", "header")
CHOICES = ("dense", "csr", "runtime")
RULE_R = (
    "Rule R's ratio of the agent counts no index, so it is met only without them. A dense file of zeros "
    "compresses too: compare with its zipped bytes."
)
UTILISATION = (
    "Counted by the kernels: padding included, inputs that are zero left out by dense tables, so "
    "kept / runtime can pass 1. other: one-hot columns added, ReLUs, tanh and sigmoid. Rule R counts "
    "(2 in - 1) out per layer, so its ratio differs from kept / (in x out) in the third or fourth decimal."
)


def real_tables(agents: Mapping[str, Costs], detailed: bool) -> list["Table | str"]:
    """Tables of real costs.

    Args:
        agents: label -> `AgentCosts.to_json`.
        detailed: operations layer by layer, too.
    """
    first = next(iter(agents.values()))
    shown: list[Table | str] = [_bytes(agents), _parts(agents), _byte_ratios(agents)]
    counted = {label: costs for label, costs in agents.items() if costs["macs"] is not None}
    if counted:
        shown.append(_macs(counted))
    for label, costs in counted.items() if detailed else ():
        shown.append(_layer_macs(label, costs))
    timed = {label: costs for label, costs in agents.items() if costs["latency"] is not None}
    if timed:
        shown += [_latency(timed), _break_even(timed)]
    elif counted:
        shown.append("Times are not taken here: mast-edge account CONFIG --measure takes them.")
    else:
        shown.append(f"Operations and times: {first['note']}")
    return shown


def _bytes(agents: Mapping[str, Costs]) -> "Table":
    names = ("dense_arrays", "zipped_dense", "file", "zipped_file", "tables", "bitmask")
    body = [
        [label, *(number(costs["bytes"][name]) for name in names), number(costs["bytes"]["dense_file"])]
        for label, costs in agents.items()
    ]
    first = next(iter(agents.values()))
    heads = ["agent", "dense f32", "zipped", "csr file", "zipped", "its tables", "bitmask", "dense file"]
    title = f"Bytes of one agent as a csr artifact, {first['precision']}"
    return table(title, 1, heads, body, f"{first['agent']}. {first['bytes']['zip']}")


def _byte_ratios(agents: Mapping[str, Costs]) -> "Table":
    names = ("file", "tables", "weights", "bitmask", "without_indices", "rule_r")
    body = [
        [label, *(number(costs["bytes"]["ratios"][name], 3) for name in names)]
        for label, costs in agents.items()
    ]
    heads = ["agent", "file", "tables", "tables, no biases", "bitmask", "no indices", "Rule R"]
    return table("Those bytes over dense float32", 1, heads, body, RULE_R)


def _parts(agents: Mapping[str, Costs]) -> "Table":
    body = [
        [label, *(number(costs["bytes"]["parts"][part]) for part in PARTS), number(costs["bytes"]["file"])]
        for label, costs in agents.items()
    ]
    return table("Where the bytes of that file go", 1, ["agent", *PARTS, "file"], body)


def _macs(agents: Mapping[str, Costs]) -> "Table":
    body = []
    for label, costs in agents.items():
        of = costs["macs"]
        other = [f"{at['name']} {at['kernel']}" for at in of["layers"] if at["kernel"] != "dense"]
        executed = [number(of["executed"][choice]) for choice in CHOICES]
        body.append(
            [
                *(label, ", ".join(other) or "all dense", number(of["dense"]), number(of["nnz"]), *executed),
                f"{of['ratios']['runtime']:.3f}",
                number(of["utilisation"]["runtime"], 3),
                number(sum(of["other"].values())),
            ]
        )
    heads = ["agent", "runtime runs from", "in x out", "kept", "all dense", "all CSR", "runtime"]
    heads += ["/ in x out", "kept /", "other"]
    return table("Multiply-adds executed in one forward pass", 2, heads, body, UTILISATION)


def _layer_macs(label: str, costs: Costs) -> "Table":
    smaller = costs["bytes"]["break_even_sparsity"]
    body = [
        [
            *(at["name"], at["kernel"], number(at["dense"]), number(at["nnz"])),
            *(number(at["executed"][choice]) for choice in CHOICES),
            number(at["utilisation"], 3),
            *(_sparsity(smaller[at["name"]][kind]) for kind in ("tables", "bitmask")),
        ]
        for at in costs["macs"]["layers"]
    ]
    heads = ["layer", "tables", "in x out", "kept", "all dense", "all CSR", "runtime", "kept /"]
    heads += ["sparse smaller from", "bitmask from"]
    caption = "The last two: smallest sparsity at which fewer bytes are stored than for dense weights."
    return table(f"{label}: multiply-adds per layer, and break-even in bytes", 2, heads, body, caption)


def _latency(agents: Mapping[str, Costs]) -> "Table":
    body = []
    for label, costs in agents.items():
        for batch in costs["latency"]["batches"]:
            over = [f"{batch['dense_over'][choice]:.2f}" for choice in CHOICES[1:]]
            tiny = _times(batch["tiny"]) if "tiny" in batch else "-"
            body.append([label, number(batch["batch"]), *(_times(batch[c]) for c in CHOICES), tiny, *over])
    first = next(iter(agents.values()))["latency"]
    host, worst = first["host"], max(c["latency"]["max_abs_q_difference"] for c in agents.values())
    known = ", ".join(f"{name} {version}" for name, version in host["versions"].items())
    caption = (
        f"Median (p10-p90) of {first['calls']} calls each, interleaved, {host['threads']} thread, the call "
        f"from Python included; {host['cpu']}, {host['vectors']}, {host['compiler']}, {known}, "
        f"{host['date']}. The dense tables are this package's own and hold the same weights; "
        f"largest |dQ| {worst:.1g}. tiny: a narrow dense network of as many parameters, random weights. "
        "Energy and memory: not measured."
    )
    heads = [
        "agent",
        "batch",
        "all dense, us",
        "all CSR, us",
        "runtime, us",
        "tiny, us",
        "dense / CSR",
        "/ runtime",
    ]
    return table("Measured time of a call; batch: agents in it", 1, heads, body, caption)


def _times(found: Mapping[str, float]) -> str:
    return f"{found['median']:.2f} ({found['p10']:.2f}-{found['p90']:.2f})"


def _break_even(agents: Mapping[str, Costs]) -> "Table":
    body, known = [], []
    for label, costs in agents.items():
        results = costs["break_even"]["results"]
        if results in known:
            continue
        known.append(results)
        for found in results:
            shape = "-" if found["shape"] is None else f"{found['shape'][0]} x {found['shape'][1]}"
            sizes = " ".join(word for word in label.split() if not word.endswith("%"))
            body.append([sizes, found["what"], shape, _sparsity(found["break_even_sparsity"])])
    caption = (
        "Smallest sparsity at which the median of CSR is not above that of our dense kernel; straight lines "
        "between the points of the sweep. fc1 without one-hot columns."
    )
    heads = ["agent", "what", "out x in", "CSR no slower from"]
    return table("Measured break-even of CSR", 3, heads, body, caption)


def _sparsity(value: float | None) -> str:
    return "no break-even" if value is None else f"{100 * value:.1f} %"
