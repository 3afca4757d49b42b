"""What a fit publishes: the nomogram judged, tables and sentences for a paper."""
