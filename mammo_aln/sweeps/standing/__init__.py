"""A sweep at a glance: where each cell stands, why it failed, and the board that shows it."""
