"""Signatures that travel: fitted models as plain numbers in JSON, which score alike in every process."""
