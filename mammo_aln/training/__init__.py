"""Learning: data module, training, prediction."""
