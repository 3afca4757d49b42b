"""Texture matrices of a region (IBSI-1, Zwanenburg 2020): co-occurrence, run length, size zone, distance zone,
neighbourhood grey tone difference, neighbouring grey level dependence. All are counts; every loop runs over directions,
none over voxels.

Each function returns an array whose first axis is the slice (one entry where `plane` is 3D); co-occurrence and run
length have the direction as second axis.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_cdt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mammo_aln.radiomics.extraction.roi import Floats, Ints, Mask, Roi, directions

Plane = Literal["2D", "3D"]


def _groups(roi: Roi, plane: Plane) -> tuple[Ints, int]:
    """Number the matrix that each voxel counts in, and the matrices."""
    if plane == "3D":
        return np.zeros(roi.at.size, dtype=np.int64), 1
    return roi.slices, int(roi.padded.shape[0] - 2)


def _counted(keys: tuple[Ints, ...], shape: tuple[int, ...]) -> Floats:
    flat = np.ravel_multi_index(keys, shape)
    return np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape).astype(float)


def co_occurrence(roi: Roi, plane: Plane, distance: int = 1) -> Floats:
    """Symmetric counts of level pairs `distance` voxels apart in a direction: (slices, directions, levels, levels)."""
    group, groups = _groups(roi, plane)
    wide = np.pad(roi.padded, distance - 1)
    flat, at = wide.ravel(), np.flatnonzero(wide)
    counts = []
    for slices, rows, columns in directions(plane):
        step = (slices * wide.shape[1] + rows) * wide.shape[2] + columns
        other = flat[at + distance * step]
        pair = other > 0
        pairs = _counted((group[pair], roi.levels[pair] - 1, other[pair] - 1), (groups, roi.count, roi.count))
        counts.append(pairs + pairs.swapaxes(1, 2))
    return np.stack(counts, axis=1)


def run_length(roi: Roi, plane: Plane) -> Floats:
    """Counts of runs of one level by their length: (slices, directions, levels, longest run)."""
    group, groups = _groups(roi, plane)
    flat = roi.padded.ravel()
    runs: list[tuple[Ints, Ints]] = []
    for offset in directions(plane):
        step = roi.step(offset)
        follows = flat[roi.at - step] == roi.levels  # this voxel continues its predecessor's run
        goes_on = np.zeros(flat.size, dtype=bool)
        goes_on[roi.at] = flat[roi.at + step] == roi.levels
        first = np.flatnonzero(~follows)
        length = np.ones(first.size, dtype=np.int64)
        position, alive = roi.at[first], np.arange(first.size)
        while alive.size:
            still = goes_on[position]
            alive, position = alive[still], position[still] + step
            length[alive] += 1
        runs.append((first, length))
    longest = max(int(length.max()) for _, length in runs)
    shape = (groups, roi.count, longest)
    return np.stack(
        [_counted((group[first], roi.levels[first] - 1, length - 1), shape) for first, length in runs], axis=1
    )


def _zones(roi: Roi, plane: Plane) -> tuple[Ints, Ints, Ints]:
    """Connected voxels of one level (8 or 26 neighbours): each voxel's zone, each zone's first voxel and size."""
    number = np.full(roi.padded.size, -1, dtype=np.int32)
    number[roi.at] = np.arange(roi.at.size, dtype=np.int32)
    flat = roi.padded.ravel()
    ends = []
    for offset in directions(plane):
        other = roi.at + roi.step(offset)
        same = np.flatnonzero(flat[other] == roi.levels)
        ends.append((same.astype(np.int32), number[other[same]]))
    rows, columns = (np.concatenate(side) for side in zip(*ends, strict=True))
    graph = coo_array((np.ones(rows.size, dtype=np.int8), (rows, columns)), shape=(roi.at.size, roi.at.size)).tocsr()
    _, zone = connected_components(graph, directed=False)
    _, first, size = np.unique(zone, return_index=True, return_counts=True)
    return zone.astype(np.int64), first, size


def size_and_distance_zones(roi: Roi, plane: Plane, mask: Mask) -> tuple[Floats, Floats]:
    """Counts of zones by size, and by their distance from the region's edge: each (slices, levels, largest).

    Args:
        roi: the region's levels.
        plane: zones and distances within slices, or in space.
        mask: the region before intensities were excluded (IBSI's morphological mask), on the grid of `roi` without its
            border; distances are counted in steps over faces to the nearest voxel outside it.
    """
    group, groups = _groups(roi, plane)
    zone, first, size = _zones(roi, plane)
    distance = _edge_distance(mask, plane).ravel()[roi.at].astype(np.int64)
    nearest = np.full(first.size, np.iinfo(np.int64).max)
    np.minimum.at(nearest, zone, distance)
    matrix, level = group[first], roi.levels[first] - 1
    return (
        _counted((matrix, level, size - 1), (groups, roi.count, int(size.max()))),
        _counted((matrix, level, nearest - 1), (groups, roi.count, int(nearest.max()))),
    )


def _edge_distance(mask: Mask, plane: Plane) -> NDArray[np.int32]:
    padded = np.pad(mask, 1)
    if plane == "3D":
        return distance_transform_cdt(padded, metric="taxicab")
    return np.stack([distance_transform_cdt(plane_mask, metric="taxicab") for plane_mask in padded])


def neighbourhood(roi: Roi, plane: Plane, alpha: int = 0) -> tuple[Floats, Floats]:
    """Grey tone differences (slices, levels, 2: voxels counted, summed difference) and dependences
    (slices, levels, neighbours that differ by at most `alpha` levels + 1)."""
    group, groups = _groups(roi, plane)
    flat = roi.padded.ravel()
    around, total, same = (np.zeros(roi.at.size, dtype=np.int64) for _ in range(3))
    for offset in directions(plane):
        for step in (roi.step(offset), -roi.step(offset)):
            other = flat[roi.at + step]
            around += other > 0
            total += other
            same += (other > 0) & (np.abs(other - roi.levels) <= alpha)
    has = around > 0
    difference = np.abs(roi.levels[has] - total[has] / around[has])
    key = np.ravel_multi_index((group[has], roi.levels[has] - 1), (groups, roi.count))
    tones = np.stack([np.bincount(key, weights, groups * roi.count) for weights in (None, difference)], axis=-1)
    most = 2 * len(directions(plane)) + 1
    return (
        tones.reshape(groups, roi.count, 2).astype(float),
        _counted((group, roi.levels - 1, same), (groups, roi.count, most)),
    )
