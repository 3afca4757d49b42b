"""The clinical branch: an encoded vector of mixed features becomes one token."""

from __future__ import annotations

from torch import Tensor, nn

from mammo_aln.model.batch_dropout import BatchDropout


class ClinicalBranch(nn.Module):
    """A linear map plus a small network that starts at zero, so that it begins as logistic regression does.

    Args:
        columns: width of the encoded vector (imputed, scaled, one-hot and missingness columns).
        width: width of the token.
        drop_rate: dropout inside the small network.
    """

    def __init__(self, columns: int, width: int, drop_rate: float) -> None:
        super().__init__()
        self.linear = nn.Linear(columns, width)
        self.hidden = nn.Sequential(nn.Linear(columns, width), nn.GELU(), BatchDropout(drop_rate))
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, encoded: Tensor) -> Tensor:
        """Map encoded features (B, columns) to tokens (B, width)."""
        return self.linear(encoded) + self.out(self.hidden(encoded))
