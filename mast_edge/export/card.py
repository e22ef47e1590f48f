"""The agent card: one page of Markdown beside every export, for whoever finds the file.

Source: architecture.md ("an artifact is what export makes"); accounting.md sections 7 and 8.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mast_edge.markdown import escaped, markdown_table

CARD_FILE = "card.md"


def agent_card(report: Mapping[str, Any]) -> str:
    """The card of one exported format.

    Args:
        report: the `mast-edge/export/1` object with the files of one format.

    Returns:
        Markdown; whatever comes from a config or a run is escaped.
    """
    env = report["env"]
    parts = [
        f"# A sparse agent for {escaped(env['map'])}",
        f"Made by mast-edge {escaped(report['provenance']['mast_edge'])}. One network, shared by the team: "
        "every agent runs it on its own observation, with its own hidden state.",
        "## What it takes and gives",
        _contract(report),
        "## Files",
        _files(report),
        "## How to call it",
        *[HOW_TO_CALL[name](report) for name in dict.fromkeys(f["format"] for f in report["files"])],
        "## Where it comes from",
        _pairs(report["provenance"]),
        "## What is left of it",
        _layers(report["layers"]),
        "## What it weighs and computes",
        _costs(report),
    ]
    return "\n\n".join(parts) + "\n"


def _pairs(values: Mapping[str, Any]) -> str:
    return markdown_table(["", ""], [*values.items()])


def _contract(report: Mapping[str, Any]) -> str:
    c, env = report["contract"], report["env"]
    rows = [
        ["input", f"{' then '.join(c['input'])}: {c['input_dim']} float32, the last two one-hot"],
        ["obs", f"{c['obs_dim']} float32, one agent's own observation (feature layout {env['features']})"],
        ["last_action", f"{c['n_actions']}, all zero before the first action"],
        ["agent_id", f"{c['n_agents']}, its place in the team"],
        ["hidden state", f"{c['hidden_dim']} float32, zero at the start of an episode"],
        ["gives", f"{c['n_actions']} Q values; the action is the available one of largest Q"],
        ["ties", f"{c['ties']} index; an unavailable action counts as {c['unavailable']}"],
        ["game", f"{env['map']} ({env['backend']}), at most {env['episode_limit']} steps"],
    ]
    return markdown_table(["", ""], rows)


def _files(report: Mapping[str, Any]) -> str:
    rows = [
        [
            f["path"].replace("\\", "/").rpartition("/")[2],
            f["precision"],
            f["bytes"],
            f["sha256"],
            f"{f['decisions'] - f['flips']} of {f['decisions']}",
            f"{f['max_abs_q_error']:.2g}",
            f["verified_with"],
        ]
        for f in report["files"]
    ]
    head = ["file", "precision", "bytes", "SHA-256", "same decisions as its checkpoint", "max dQ", "run by"]
    return markdown_table(head, rows)


def _layers(layers: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            layer["name"],
            f"{layer['shape'][0]} x {layer['shape'][1]}",
            layer["kind"],
            layer["pattern"],
            layer["nnz"],
            f"{layer['density']:.4f}",
            layer["empty_rows"],
            layer["empty_columns"],
        ]
        for layer in layers
    ]
    head = ["layer", "out x in", "stored as", "pattern", "weights", "density", "empty rows", "empty columns"]
    return markdown_table(head, rows)


def _costs(report: Mapping[str, Any]) -> str:
    size, flops, real = report["size"], report["flops"], report["real"]
    rows = [
        ["csr artifact", f"{size['file_bytes']} bytes"],
        *[[part, f"{size[f'{part}_bytes']} bytes"] for part in ("values", "index", "pointer", "header")],
        ["dense float32 weights", f"{size['dense_f32_bytes']} bytes"],
        ["the same, zipped", f"{size['zipped_dense_bytes']} bytes: the peer to beat"],
        [
            "FLOPs of one decision (Rule R)",
            f"{flops['sparse']:.0f} of {flops['dense']:.0f}; a count by the paper's formula, not a speed-up",
        ],
    ]
    if real["macs"] is not None:
        done, dense = real["macs"]["executed"]["runtime"], real["macs"]["dense"]
        kept = real["macs"]["nnz"]
        rows.append(["multiply-adds executed", f"{done:.0f} of {dense}, {kept} of them needed (csr runtime)"])
    if real["latency"] is not None:
        alone, host = real["latency"]["batches"][0], real["latency"]["host"]
        times = [f"{alone[choice]['median']:.2f}" for choice in ("runtime", "dense")]
        rows.append(
            ["time of one decision", f"{times[0]} us, all layers dense {times[1]} us, on {host['cpu']}"]
        )
    return markdown_table(["", ""], rows)


def _call_artifact(report: Mapping[str, Any]) -> str:
    return """```python
from mast_edge.runtime import Agent            # pip install mast-edge: numpy and the native core, no torch

agent = Agent.load("agent.safetensors", agent_id=0)
action = agent.act(obs, avail)                 # float32 (obs_dim,), uint8 (n_actions,)
agent.reset()                                  # before the next episode
```"""


def _call_onnx(report: Mapping[str, Any]) -> str:
    return """```python
import onnxruntime

session = onnxruntime.InferenceSession("agent.onnx")
q, hidden = session.run(["q", "hidden_next"], {"obs": row, "hidden": hidden})   # row: the whole input
```"""


def _call_onnx_sparse(report: Mapping[str, Any]) -> str:
    return (
        "`agent.sparse.onnx` is the same step in a smaller file. It is not faster: onnxruntime fills the "
        "zeros in."
    )


def _call_c(report: Mapping[str, Any]) -> str:
    return "See README.md beside this card."


HOW_TO_CALL: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "csr": _call_artifact,
    "onnx": _call_onnx,
    "onnx_sparse": _call_onnx_sparse,
    "c": _call_c,
}
"""Entry of an export -> how to use it."""
