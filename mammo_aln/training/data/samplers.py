"""The order of the units: a pure function of seed and epoch, so that a resumed run sees the same order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from mammo_aln.model.ranks import global_rank, world_size


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, unit). Shuffled per epoch in training; in order, every unit once over all ranks, elsewhere.

    A step is `batch_size` units over all ranks, the same ones however many ranks there are.

    Lightning calls `set_epoch` before each epoch, also after a resume. With `alone`, this process takes every unit,
    whatever others there are: their group outlives a training on several devices. The first pass of a resumed run
    begins at `begin`, an epoch and a step of it: loader processes fetch before Lightning has named the epoch.
    """

    def __init__(
        self,
        units: int,
        *,
        seed: int,
        shuffle: bool,
        batch_size: int,
        alone: bool = False,
        begin: tuple[int, int] | None = None,
    ) -> None:
        self.units, self.seed, self.shuffle, self.batch_size = units, seed, shuffle, batch_size
        self.alone = alone
        self.epoch = 0
        self.begin = begin

    def set_epoch(self, epoch: int) -> None:
        """Name the epoch whose order is drawn next."""
        self.epoch = epoch

    def _mine(self, epoch: int) -> np.ndarray:
        ranks, rank = (1, 0) if self.alone else (world_size(), global_rank())
        order = np.arange(self.units)
        if self.shuffle:
            order = np.random.default_rng((self.seed, epoch)).permutation(self.units)
            # Every rank takes as many steps as the others; a step of fewer units than the others would weigh them more.
            if self.units >= self.batch_size:
                order = order[: self.units // self.batch_size * self.batch_size]
        return order[rank::ranks]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, step = (self.epoch if self.shuffle else 0, 0) if self.begin is None else self.begin
        self.begin = None
        ranks = 1 if self.alone else world_size()
        return ((epoch, int(unit)) for unit in self._mine(epoch)[step * self.batch_size // ranks :])

    def __len__(self) -> int:
        return len(self._mine(self.epoch))
