"""The computer and its limits: cores, memory, worker processes, signals, SLURM.

>>> from mammo_aln.machine.cores import usable_cores
>>> usable_cores() >= 1
True
"""
