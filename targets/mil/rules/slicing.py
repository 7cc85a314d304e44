"""Parts of a tensor, and what is put around it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from exporter.errors import UnsupportedError
from targets.mil.rules.arguments import Ints, Rule, Value, axis_of, by_name, ints, ints_or, number
from targets.mil.rules.limits import bounded
from targets.mil.rules.windows import padded, pairs

Positions = list[range | int]  # for each dimension; an int also removes the dimension


def slice_by_index(
    x: Tensor,
    begin: Ints,
    end: Ints,
    stride: Ints | None = None,
    begin_mask: Ints | None = None,
    end_mask: Ints | None = None,
    squeeze_mask: Ints | None = None,
) -> Tensor:
    """Python's slices; a mask stands for a bound that is left open, or for a single index."""
    positions = _positions(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    for dim in reversed(range(x.dim())):
        at = positions[dim]
        x = x.select(dim, at) if isinstance(at, int) else x.index_select(dim, _indices(at))
    return x


def slice_update(
    x: Tensor,
    update: Tensor,
    begin: Ints,
    end: Ints,
    stride: Ints | None = None,
    begin_mask: Ints | None = None,
    end_mask: Ints | None = None,
    squeeze_mask: Ints | None = None,
) -> Tensor:
    """`x` with another tensor where `slice_by_index` would read."""
    positions = _positions(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    sizes = [1 if isinstance(at, int) else len(at) for at in positions]
    grids = torch.meshgrid(
        *(_indices(range(at, at + 1) if isinstance(at, int) else at) for at in positions),
        indexing="ij",
    )
    return x.index_put(grids, update.reshape(sizes))


def slice_by_size(x: Tensor, begin: Ints, size: Ints) -> Tensor:
    """A size of -1 reaches to the end."""
    for dim, (first, count) in enumerate(zip(ints(begin), ints(size), strict=True)):
        start = first + x.shape[dim] if first < 0 else first
        x = x.narrow(dim, start, x.shape[dim] - start if count == -1 else count)
    return x


def crop(x: Tensor, crop_height: Ints, crop_width: Ints) -> Tensor:
    """Rows and columns to leave out at both ends."""
    for dim, (before, after) in ((-2, ints(crop_height)), (-1, ints(crop_width))):
        x = x.narrow(dim, before, x.shape[dim] - before - after)
    return x


def band_part(x: Tensor, lower: int = -1, upper: int = -1) -> Tensor:
    """Diagonals to keep on either side of the main one; all for a negative number."""
    below = torch.arange(x.shape[-2])[:, None] - torch.arange(x.shape[-1])
    outside = torch.zeros_like(below, dtype=torch.bool)
    outside |= (below > int(lower)) if lower >= 0 else False
    outside |= (-below > int(upper)) if upper >= 0 else False
    return x.masked_fill(outside, 0)


def pad(x: Tensor, pad: Ints, mode: str = "constant", constant_val: Value = 0.0) -> Tensor:
    """(before, after) for the last dimensions; raises UnsupportedError for an unknown mode."""
    around = pairs(ints(pad))
    if mode == "constant":
        return padded(x, around, number(constant_val))
    if mode not in ("reflect", "replicate"):
        raise UnsupportedError(f"pad in mode {mode!r} is not evaluated")
    first = x.dim() - len(around)
    bounded([*x.shape[:first], *(n + sum(p) for n, p in zip(x.shape[first:], around, strict=True))])
    for dim, (before, after) in enumerate(around, first):
        size = x.shape[dim]
        at = torch.arange(-before, size + after)
        if mode == "reflect":
            at = at.abs()
            at = torch.where(at >= size, 2 * (size - 1) - at, at)
        x = x.index_select(dim, at.clamp(0, size - 1))
    return x


def reverse_sequence(x: Tensor, lengths: Tensor, seq_axis: int = 0, batch_axis: int = 0) -> Tensor:
    """Only the first elements of each sequence turn around, as many as its length says."""
    sequence, batch = axis_of(seq_axis, x.dim()), axis_of(batch_axis, x.dim())
    at = torch.arange(x.shape[sequence])
    counts = lengths.long()[:, None]
    source = torch.where(at < counts, counts - 1 - at, at)  # (batch, sequence)
    source = source if batch < sequence else source.T
    shape = [n if d in (sequence, batch) else 1 for d, n in enumerate(x.shape)]
    return torch.gather(x, sequence, source.reshape(shape).expand(x.shape))


def sliding_windows(x: Tensor, axis: int, size: int, stride: int = 1) -> Tensor:
    """Windows along `axis`, their elements along the next dimension."""
    dim = axis_of(axis, x.dim())
    windows = x.unfold(dim, int(size), int(stride))
    bounded(windows.shape)
    return windows.movedim(-1, dim + 1).contiguous()


def _positions(
    x: Tensor,
    begin: Ints,
    end: Ints,
    stride: Ints | None,
    begin_mask: Ints | None,
    end_mask: Ints | None,
    squeeze_mask: Ints | None,
) -> Positions:
    masks = [ints_or(mask, 0, x.dim()) for mask in (begin_mask, end_mask, squeeze_mask)]
    steps = ints_or(stride, 1, x.dim())
    found: Positions = []
    rows = zip(x.shape, ints(begin), ints(end), steps, *masks, strict=True)
    for size, first, last, step, from_start, to_end, single in rows:
        if single:
            found.append(first + size if first < 0 else first)
        else:
            bounds = slice(None if from_start else first, None if to_end else last, step)
            found.append(range(*bounds.indices(size)))
    return found


def _indices(positions: range) -> Tensor:
    return torch.tensor(positions, dtype=torch.long)


RULES: Mapping[str, Rule] = by_name(
    band_part,
    crop,
    pad,
    reverse_sequence,
    slice_by_index,
    slice_by_size,
    slice_update,
    sliding_windows,
)
