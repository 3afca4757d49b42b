"""Sweeps on engines of many nodes: `sweep write` makes an engine's job file, `sweep work` is what its processes run."""
