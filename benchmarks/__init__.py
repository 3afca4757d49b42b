"""Measurements that docs/benchmarks.md reports: `python -m benchmarks` lists them."""
