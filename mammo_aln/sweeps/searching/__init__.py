"""Search beyond the grid: Optuna asks for trials as cells end, and is told how they went."""
