"""Statistics as plain functions of scores and labels, held to R's numbers."""
