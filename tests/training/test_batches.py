"""A loader process hands over what this process would have made."""

from __future__ import annotations

from pathlib import Path

import torch

from mammo_aln.settings import CropConfig, DataConfig
from mammo_aln.training.data.datamodule import MammoDataModule


def test_a_loader_process_gives_the_same_batches(phantom: Path, store: Path) -> None:
    def batches(workers: int) -> list[dict[str, torch.Tensor]]:
        data = MammoDataModule(
            phantom,
            CropConfig(size_px=32),
            inputs=("primary", "auxiliary", "clinical"),
            data=DataConfig(batch_size=4, num_workers=workers),
            store=store,
        )
        data.prepare_data()
        data.setup()
        loader = data.train_dataloader()
        loader.sampler.set_epoch(3)
        return list(loader)

    here, there = batches(0), batches(1)
    assert len(here) == len(there) > 1
    for one, other in zip(here, there, strict=True):
        assert list(one) == list(other)
        for name, tensor in one.items():
            assert tensor.dtype == other[name].dtype
            torch.testing.assert_close(other[name], tensor, rtol=0, atol=0)
        assert one["crops"].shape[1:] == (1, 32, 32)
        assert one["crops"].std() > 0
