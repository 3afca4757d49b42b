"""Dropout whose draws are the whole batch's, however many ranks it is dealt to."""

from __future__ import annotations

from torch import Tensor, nn

from mammo_aln.model.ranks import global_rank, world_size


class BatchDropout(nn.Dropout):
    """Dropout of values (B, ...) of a step's patients; each rank draws for all ranks' and takes its own rows.

    Where every rank's generator stands alike (`StepSeed`), several ranks drop what one process would: patient i of
    rank r is patient i * ranks + r of the batch. Every rank must have as many patients.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Set a share `p` of the values to 0 and divide the others by 1 - p; in evaluation, nothing."""
        if not self.training or self.p == 0:
            return values
        ranks = world_size()
        kept = values.new_empty((len(values) * ranks, *values.shape[1:])).bernoulli_(1.0 - self.p)
        return values * kept[global_rank() :: ranks] / (1.0 - self.p)
