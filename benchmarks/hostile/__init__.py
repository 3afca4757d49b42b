"""Hostile inputs: mutations of real files, fed to the readers that a user's files meet."""
