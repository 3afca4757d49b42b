"""The executor `slurm`: what each cell's job asks for, what it does, and how its end is understood."""
