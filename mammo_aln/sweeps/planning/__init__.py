"""From a sweep's file to its plan: every combination read, refused, or given crops and weights before a cell trains."""
