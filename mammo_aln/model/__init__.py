"""Networks: backbones, clinical encoder, fusion and the LightningModule.

>>> import torch
>>> from mammo_aln.model.network import crop_encoder
>>> from mammo_aln.settings import ModelConfig
>>> encoder = crop_encoder(ModelConfig(backbone="timm:resnet10t", embed_dim=64), size_px=64).eval()
>>> tuple(encoder(torch.zeros(2, 1, 64, 64), frozen=False).shape)
(2, 64)
"""
