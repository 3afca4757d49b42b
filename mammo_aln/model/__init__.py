"""Networks: backbones, clinical encoder, fusion and the LightningModule."""
