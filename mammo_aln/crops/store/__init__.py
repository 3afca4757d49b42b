"""Crops on disk: each once, keyed by content, safe for several writers."""
