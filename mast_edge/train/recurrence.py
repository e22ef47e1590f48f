"""The GRU over whole ragged episodes: native on the CPU, torch's on a GPU; `vector` has one for many runs."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mast_edge.native._core import gru_backward, gru_forward
from mast_edge.train.vector.recurrence import PaddedRows, padded_gru


@dataclass(frozen=True, slots=True)
class PackedRows:
    """How packed rows (by time, then sequence, longest first) relate to each other and to a padded array.

    Attributes:
        alive: (T + 1,) int64 on the CPU, sequences with a row at each step.
        place: (P,) int64, time * sequences + sequence of each row.
        now, following: (M,) int64, rows that have a next row, and that row.
    """

    alive: Tensor
    place: Tensor
    now: Tensor
    following: Tensor


def gru(
    x: Tensor,
    w_ih: Tensor,
    b_ih: Tensor,
    w_hh: Tensor,
    b_hh: Tensor,
    rows: PackedRows | PaddedRows,
    *,
    native: bool = True,
) -> Tensor:
    """Hidden states of a GRU whose every sequence starts from zero.

    Args:
        x: (P, H) inputs.
        w_ih, w_hh: (3H, H), gates r, z, n. b_ih, b_hh: (3H,).
        rows: their order.
        native: take the native kernel where it applies (CPU, float32, H a multiple of 16).

    Returns:
        (P, H).
    """
    if isinstance(rows, PaddedRows):
        return padded_gru(x, w_ih, b_ih, w_hh, b_hh, rows)
    if native and x.device.type == "cpu" and x.dtype == torch.float32 and w_hh.shape[1] % 16 == 0:
        from_input = torch.nn.functional.linear(x, w_ih, b_ih)
        hidden: Tensor = _Recurrence.apply(from_input, w_hh, b_hh, rows)  # type: ignore[no-untyped-call]
        return hidden
    return _torch_gru(x, w_ih, b_ih, w_hh, b_hh, rows)


def _torch_gru(
    x: Tensor, w_ih: Tensor, b_ih: Tensor, w_hh: Tensor, b_hh: Tensor, rows: PackedRows
) -> Tensor:
    """torch's GRU on a padded array (its packed one zeroes the whole input once per step on the way back)."""
    steps, sequences, h = len(rows.alive), int(rows.alive[0]), x.shape[1]
    padded = x.new_zeros(steps * sequences, h).index_copy(0, rows.place, x).view(steps, sequences, h)
    weights = [w_ih, w_hh, b_ih, b_hh]
    hidden, _ = torch.gru(padded, x.new_zeros(1, sequences, h), weights, True, 1, 0.0, False, False, False)
    return hidden.reshape(steps * sequences, h).index_select(0, rows.place)


class _Recurrence(torch.autograd.Function):
    """Native forward and backward through time; the weight gradient is one product over all steps."""

    @staticmethod
    def forward(ctx: Any, from_input: Tensor, w_hh: Tensor, b_hh: Tensor, rows: PackedRows) -> Tensor:
        total, h = len(from_input), w_hh.shape[1]
        hidden = torch.empty(total, h)
        needs_gradient = any(ctx.needs_input_grad)
        gates = torch.empty(total, 4 * h) if needs_gradient else None
        gru_forward(
            rows.alive.numpy(),
            from_input.detach().numpy(),
            w_hh.detach().numpy(),
            b_hh.detach().numpy(),
            hidden.numpy(),
            None if gates is None else gates.numpy(),
        )
        if gates is not None:
            ctx.rows = rows
            ctx.save_for_backward(w_hh, hidden, gates)
        return hidden

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        w_hh, hidden, gates = ctx.saved_tensors
        rows: PackedRows = ctx.rows
        d_input = torch.empty(len(hidden), 3 * w_hh.shape[1])
        d_recurrent = torch.empty_like(d_input)
        gru_backward(
            rows.alive.numpy(),
            w_hh.detach().numpy(),
            hidden.numpy(),
            gates.numpy(),
            grads[0].contiguous().numpy(),
            d_input.numpy(),
            d_recurrent.numpy(),
        )
        before = hidden.index_select(0, rows.now)
        d_w_hh = d_recurrent.index_select(0, rows.following).t() @ before
        return d_input, d_w_hh, d_recurrent.sum(0), None
