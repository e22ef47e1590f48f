"""The GRU of R runs at once: each has weights of its own, so a step is one batched product (no cuDNN).

Source: training_speed.md 7, "many runs on one GPU".
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class PaddedRows:
    """Rows by time, then sequence; every sequence has a row at each step.

    Attributes:
        steps: S. The sequences are all rows divided by it.
    """

    steps: int


def padded_gru(x: Tensor, w_ih: Tensor, b_ih: Tensor, w_hh: Tensor, b_hh: Tensor, rows: PaddedRows) -> Tensor:
    """`recurrence.gru` on padded rows: (P, H) -> (P, H), each sequence starting from zero.

    Inside `torch.func.vmap` the runs are one leading axis of every product. What follows an episode's last
    row depends on it, never the other way round, so padding at the end needs no mask here.
    """
    from_input = torch.nn.functional.linear(x, w_ih, b_ih).view(rows.steps, -1, len(b_ih))
    hidden: Tensor = _OfOneRun.apply(from_input, w_hh, b_hh)  # type: ignore[no-untyped-call]
    return hidden.flatten(0, 1)


class _OfOneRun(torch.autograd.Function):
    """How one run sees `_Unrolled`; vmap brings all of them: (S, C, 3H), (3H, H), (3H,) -> (S, C, H)."""

    @staticmethod
    def forward(from_input: Tensor, w_hh: Tensor, b_hh: Tensor) -> Tensor:
        runs = (t.unsqueeze(0) for t in (from_input, w_hh, b_hh))
        hidden: Tensor = _Unrolled.apply(*runs)  # type: ignore[no-untyped-call]
        return hidden.squeeze(0)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing to keep: `_Unrolled` does."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *runs: Tensor) -> tuple[Tensor, int]:
        """All runs at once."""
        stacked = (
            t.movedim(dim, 0) if dim is not None else t.expand(info.batch_size, *t.shape)
            for t, dim in zip(runs, in_dims, strict=True)
        )
        hidden: Tensor = _Unrolled.apply(*stacked)  # type: ignore[no-untyped-call]
        return hidden, 0


class _Unrolled(torch.autograd.Function):
    """(R, S, C, 3H) inputs, (R, 3H, H) and (R, 3H) weights -> (R, S, C, H); gates r, z, n as in torch.

    Backward through time is one product per step too; the weight gradient is one over all steps.
    """

    @staticmethod
    def forward(ctx: Any, from_input: Tensor, w_hh: Tensor, b_hh: Tensor) -> Tensor:
        runs, steps, sequences, wide = from_input.shape
        keeps = any(ctx.needs_input_grad)
        bias, w = b_hh.unsqueeze(1), w_hh.transpose(1, 2)
        hidden = from_input.new_empty(runs, steps, sequences, wide // 3)
        gates = from_input.new_empty(runs, steps, sequences, 4 * (wide // 3)) if keeps else None
        h = hidden.new_zeros(runs, sequences, wide // 3)
        for t in range(steps):
            r_in, z_in, n_in = from_input[:, t].chunk(3, -1)
            r_h, z_h, n_h = torch.baddbmm(bias, h, w).chunk(3, -1)
            r, z = torch.sigmoid(r_in + r_h), torch.sigmoid(z_in + z_h)
            n = torch.tanh(torch.addcmul(n_in, r, n_h))
            h = torch.lerp(n, h, z)
            hidden[:, t] = h
            if gates is not None:
                torch.cat((r, z, n, n_h), -1, out=gates[:, t])
        if gates is not None:
            ctx.save_for_backward(w_hh, hidden, gates)
        return hidden

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        w_hh, hidden, gates = ctx.saved_tensors
        runs, steps, sequences, h = hidden.shape
        d_input = hidden.new_empty(runs, steps, sequences, 3 * h)
        d_recurrent = torch.empty_like(d_input)
        later = hidden.new_zeros(runs, sequences, h)
        nothing = torch.zeros_like(later)
        for t in reversed(range(steps)):
            r, z, n, n_h = gates[:, t].chunk(4, -1)
            d_h = grads[0][:, t] + later
            d_n = d_h * (1 - z) * (1 - n * n)
            d_z = d_h * ((hidden[:, t - 1] if t else nothing) - n) * z * (1 - z)
            d_r = d_n * n_h * r * (1 - r)
            torch.cat((d_r, d_z, d_n), -1, out=d_input[:, t])
            torch.cat((d_r, d_z, d_n * r), -1, out=d_recurrent[:, t])
            later = torch.baddbmm(d_h * z, d_recurrent[:, t], w_hh)
        d_w_hh = d_recurrent[:, 1:].flatten(1, 2).transpose(1, 2) @ hidden[:, :-1].flatten(1, 2)
        return d_input, d_w_hh, d_recurrent.sum((1, 2))
