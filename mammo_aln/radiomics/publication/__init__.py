"""Publication of a fit: the nomogram judged, tables and sentences for a paper."""
