"""Learning: the data modules, the loop, pre-training, threshold and calibration on validation.

Beside a cohort that `mammo-aln phantom --out COHORT` wrote:

>>> from mammo_aln.settings import CropConfig
>>> from mammo_aln.training.data.datamodule import MammoDataModule
>>> data = MammoDataModule(cohort="COHORT", crop=CropConfig(size_px=64))
>>> data.prepare_data()
>>> data.setup("fit")
>>> batch = next(iter(data.train_dataloader()))
>>> batch["crops"].shape[1:]
torch.Size([1, 64, 64])
"""
