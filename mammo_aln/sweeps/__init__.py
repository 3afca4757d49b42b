"""Many runs as one table: planned at once, shared between machines, survived, judged on validation alone.

>>> from pathlib import Path
>>> from mammo_aln.sweeps.planning.definition import points, read_definition
>>> sweep = read_definition(Path("configs/sweeps/smoke.yaml"))
>>> [axis.name for axis in sweep.axes], len(list(points(sweep)))
(['crop.strategy', 'config'], 4)
"""
