"""The film around the breast on a 1 mm grid: its frame, a scanner's rim, a collimator's border, fog at its edge."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_FRAME_MM = 14  # film frames, digitiser edges and collimator borders are no wider
_FRAME_SHARE = 0.5  # of a side's length that a frame takes, beside tissue that is as bright
_GREY_SHARE = 0.8  # of a side's air that a grey strip takes; the edge of a thin breast takes less
_FRAME_SPREAD_MM = (3.0, 2.0, 1.0)  # a frame is straight: its depth keeps within this of the line through it
_FRAME_SLOPE = 0.05  # against the image's side; a muscle's edge is steeper
_FRAME_STEP = 0.08  # of the brightest value within 2 mm: a frame ends sharply, muscle does not
_SATURATED = 0.8
_RIM_MM = 16  # a scanner's black rim around the frame
LEAST_SIDE_MM = _RIM_MM + _FRAME_MM + 2  # of a grid in which a frame can be told from what lies beside it
_THIN_MM = 2  # a frame thinner than a cell only brightens the outermost cells
_RIM_STEP = 0.04
_RIM_SHARE = 0.55
_FOG_MM = 14
_FOG_FADES = 0.3
_FOG_SHARE = 0.6  # of what the outermost column shows: more is tissue


def without_frame(grid: NDArray[np.float32]) -> NDArray[np.bool_]:
    """False on the film's frame: straight strips along the image's sides, as bright as bright gets, or thin rims."""
    inside = np.ones(grid.shape, bool)
    top = float(grid.max())
    for turns in range(4):  # left, top, right, bottom as np.rot90 shows them
        side, values = np.rot90(inside, turns), np.rot90(grid, turns)
        rim = int(np.argmax(values[:, :_RIM_MM].max(axis=0) > 0.02 * top))
        values = values[:, rim : rim + _FRAME_MM + 4]
        depth = _frame_depth(values > _SATURATED * top, values / max(top, 1e-6))
        if not depth.any():
            depth = _frame_depth(_grey_strip(values, top), values / max(top, 1e-6), least_share=0.0)
        depth = depth + rim * depth.any()
        begun = int(depth.min()) - rim if depth.any() else 0
        depth = depth + _thin_rim_depth(values[:, begun:] / max(top, 1e-6))
        columns = np.arange(grid.shape[1 - turns % 2])
        side[columns[None, :] < depth[:, None]] = False
    return inside


def _grey_strip(values: NDArray[np.float32], top: float) -> NDArray[np.bool_]:
    """True on strips along the left side that end sharply in air, in rows that show air beyond; else False.

    Fog fades and does not end; rows of tissue tell nothing.
    """
    strip = values[:, :2].max(axis=1, keepdims=True)
    bright = values >= 0.5 * strip
    stop = np.where(bright.all(axis=1), values.shape[1], np.argmin(bright, axis=1))
    rows = np.arange(len(values))
    last, after = values[rows, np.maximum(stop - 1, 0)], values[rows, np.minimum(stop + 1, values.shape[1] - 1)]
    air_beyond = values[:, _FRAME_MM + 1 :].max(axis=1) < 0.3 * strip[:, 0]
    ends = air_beyond & (strip[:, 0] > 0.04 * top) & (after < 0.45 * last) & (stop <= _FRAME_MM)
    in_air = air_beyond | (values.max(axis=1) < 0.04 * top)
    if ends.sum() < _GREY_SHARE * in_air.sum():
        return np.zeros(values.shape, bool)
    return ends[:, None] & (np.arange(values.shape[1])[None, :] < stop[:, None])


def _frame_depth(
    bright: NDArray[np.bool_], values: NDArray[np.float32], least_share: float = _FRAME_SHARE
) -> NDArray[np.int64]:
    """Depth in mm of a frame on the left side, row by row; zeros where there is none.

    Rows in which brightness goes on (a saturated muscle) take the depth of the rows beside them.
    """
    rows, reach = bright.shape
    # The outermost cell may be the scanner's black rim.
    starts = bright[:, : min(3, reach)].any(axis=1)
    first = np.argmax(bright, axis=1)
    dark_after = ~bright & (np.arange(reach)[None, :] > first[:, None])
    stop = np.where(dark_after.any(axis=1), np.argmax(dark_after, axis=1), reach)
    seen = np.flatnonzero(starts & (stop <= _FRAME_MM))
    unknown = int((starts & (stop > _FRAME_MM)).sum())
    none, straight = np.zeros(rows, np.int64), np.ones(seen.size, bool)
    if seen.size < max(20, least_share * (rows - unknown)):
        return none
    for tolerance_mm in _FRAME_SPREAD_MM:  # again and again without the rows in which tissue lengthens it
        slope, offset = np.polyfit(seen[straight], stop[seen[straight]], 1)
        straight = np.abs(stop[seen] - (slope * seen + offset)) <= tolerance_mm
        if straight.mean() < _FRAME_SHARE or abs(slope) > _FRAME_SLOPE:
            return none
    last, after = values[seen, np.maximum(stop[seen] - 1, 0)], values[seen, np.minimum(stop[seen] + 1, reach - 1)]
    if float(np.median(last - after)) < _FRAME_STEP:
        return none
    kept = seen[straight]
    return np.ceil(np.interp(np.arange(rows), kept, stop[kept])).astype(np.int64)


def _thin_rim_depth(values: NDArray[np.float32]) -> int:
    """Cells that a frame brightens in part: each line brighter than the next over most of the side."""
    steps = values[:, :_THIN_MM] - values[:, 1 : _THIN_MM + 1]
    depth = 0
    while depth < steps.shape[1] and (steps[:, depth] > _RIM_STEP).mean() > _RIM_SHARE:
        depth += 1
    return depth


def without_fog(grid: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The grid less the fog that light leaves along a film's chest-wall side, where there is some.

    Fog stands beside the breast too, so that the darkest tenth of each column shows it, and fades within some mm.
    """
    first = int(np.flatnonzero(inside.any(axis=0))[0])
    strip = grid[inside.any(axis=1), first : first + _FOG_MM]
    fog = np.minimum.accumulate(np.percentile(strip, 10, axis=0)) - float(np.percentile(grid, 10))
    most = _FOG_SHARE * float(np.median(strip[:, 0]))
    if strip.shape[1] < _FOG_MM or not 0.01 < fog[0] < most or fog[-1] > _FOG_FADES * fog[0]:
        return grid
    cleared = grid.copy()
    cleared[:, first : first + _FOG_MM] -= np.maximum(fog, 0.0).astype(np.float32)
    return np.maximum(cleared, float(grid.min()))
