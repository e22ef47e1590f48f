"""The ONNX models that the exporter writes and the runtime accepts, as plain data: nodes, tensors, signature.

One table for both sides: `mast_edge.export.to_onnx_graph` makes protobuf of it, and
`mast_edge.runtime.backends.onnx_` lets through exactly these graphs and no others.

Two forms of one step function, the host holds the hidden state:

* dense (`agent.onnx`): one GRU node, the fastest form in onnxruntime;
* sparse (`agent.sparse.onnx`): weights on the right of a `MatMul` (x @ W^T), those worth it as
  `Constant(sparse_value)`, gates written out in torch's order. Smaller on disk; onnxruntime writes the zeros
  back when it loads, so it is not faster.

Source: runtime.md section 4.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from mast_edge.spec import LAYERS, AgentSpec

OPSET = 17
IR_VERSION = 8
METADATA_KEY = "mast_edge"
FLOAT, INT64, BOOL = 1, 7, 9
"""onnx.TensorProto.DataType."""
UNAVAILABLE = "unavailable"
"""Name of the scalar -inf that an action that is not available counts as."""

Shape = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """An operator of the standard domain; a sparse weight is a `Constant` without inputs and attributes."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of the graph: element type and shape, `batch` left open."""

    element: int
    shape: Shape


def ports(spec: AgentSpec, with_avail: bool) -> tuple[dict[str, Port], dict[str, Port]]:
    """(inputs, outputs) by name, in order.

    Args:
        spec: sizes.
        with_avail: adds input `avail` (batch, A) bool and output `action` (batch,) int64.
    """
    row, state = Port(FLOAT, ("batch", spec.input_dim)), Port(FLOAT, ("batch", spec.hidden_dim))
    inputs = {"obs": row, "hidden": state}
    outputs = {"q": Port(FLOAT, ("batch", spec.n_actions)), "hidden_next": state}
    if with_avail:
        inputs["avail"] = Port(BOOL, ("batch", spec.n_actions))
        outputs["action"] = Port(INT64, ("batch",))
    return inputs, outputs


def dense_nodes(spec: AgentSpec, with_avail: bool) -> list[Node]:
    """The dense form, in order of execution."""
    gru_inputs = ("sequence", "gru.W", "gru.R", "gru.B", "", "hidden_sequence")
    gru = {"hidden_size": spec.hidden_dim, "linear_before_reset": 1}
    return [
        Node("Gemm", ("obs", "fc1.weight", "fc1.bias"), ("fc1",), {"transB": 1}),
        Node("Relu", ("fc1",), ("x",)),
        Node("Unsqueeze", ("x", "sequence_axis"), ("sequence",)),
        Node("Unsqueeze", ("hidden", "sequence_axis"), ("hidden_sequence",)),
        Node("GRU", gru_inputs, ("", "last_hidden"), gru),
        Node("Squeeze", ("last_hidden", "sequence_axis"), ("hidden_next",)),
        Node("Gemm", ("hidden_next", "fc2.weight", "fc2.bias"), ("q",), {"transB": 1}),
        *(_action_nodes() if with_avail else ()),
    ]


def dense_tensors(spec: AgentSpec, with_avail: bool) -> dict[str, tuple[int, ...]]:
    """Name and shape of what the dense form stores; the GRU's gates in ONNX's order z, r, h."""
    h, a = spec.hidden_dim, spec.n_actions
    return {
        "fc1.weight": (h, spec.input_dim),
        "fc1.bias": (h,),
        "gru.W": (1, 3 * h, h),
        "gru.R": (1, 3 * h, h),
        "gru.B": (1, 6 * h),
        "fc2.weight": (a, h),
        "fc2.bias": (a,),
        "sequence_axis": (1,),
        **({UNAVAILABLE: ()} if with_avail else {}),
    }


def sparse_nodes(sparse_layers: Collection[str], with_avail: bool) -> list[Node]:
    """The sparse form, in order of execution.

    h' = n + z * (h - n) with n = tanh(i_n + r * h_n): the reset gate multiplies the recurrent product with
    its bias already added, as in torch.

    Args:
        sparse_layers: those of `spec.LAYERS` whose weight is a sparse `Constant`.
        with_avail: as in `ports`.
    """
    return [
        *(Node("Constant", (), (weight_name(layer),)) for layer in LAYERS if layer in sparse_layers),
        *_affine("fc1", "obs", "fc1"),
        Node("Relu", ("fc1",), ("x",)),
        *_affine("gru_ih", "x", "i"),
        *_affine("gru_hh", "hidden", "h"),
        Node("Split", ("i",), ("i_r", "i_z", "i_n"), {"axis": 1}),
        Node("Split", ("h",), ("h_r", "h_z", "h_n"), {"axis": 1}),
        Node("Add", ("i_r", "h_r"), ("r_in",)),
        Node("Sigmoid", ("r_in",), ("r",)),
        Node("Add", ("i_z", "h_z"), ("z_in",)),
        Node("Sigmoid", ("z_in",), ("z",)),
        Node("Mul", ("r", "h_n"), ("r_h_n",)),
        Node("Add", ("i_n", "r_h_n"), ("n_in",)),
        Node("Tanh", ("n_in",), ("n",)),
        Node("Sub", ("hidden", "n"), ("h_minus_n",)),
        Node("Mul", ("z", "h_minus_n"), ("kept",)),
        Node("Add", ("n", "kept"), ("hidden_next",)),
        *_affine("fc2", "hidden_next", "q"),
        *(_action_nodes() if with_avail else ()),
    ]


def sparse_tensors(spec: AgentSpec, with_avail: bool) -> dict[str, tuple[int, ...]]:
    """Name and shape of what the sparse form stores, sparse or not; weights transposed, (in, out)."""
    tensors: dict[str, tuple[int, ...]] = {}
    for layer, (out, in_) in spec.layer_shapes().items():
        tensors |= {weight_name(layer): (in_, out), f"{layer}.bias": (out,)}
    return tensors | ({UNAVAILABLE: ()} if with_avail else {})


def weight_name(layer: str) -> str:
    """Name of a transposed weight in the sparse form."""
    return f"{layer}.weight_t"


def _affine(layer: str, x: str, result: str) -> tuple[Node, Node]:
    product = f"{layer}.product"
    return (
        Node("MatMul", (x, weight_name(layer)), (product,)),
        Node("Add", (product, f"{layer}.bias"), (result,)),
    )


def _action_nodes() -> tuple[Node, Node]:
    """Unavailable counts as -inf, ties go to the lowest index, as in the runtime."""
    return (
        Node("Where", ("avail", "q", UNAVAILABLE), ("masked_q",)),
        Node("ArgMax", ("masked_q",), ("action",), {"axis": 1, "keepdims": 0, "select_last_index": 0}),
    )
