"""JPEG 2000 and HTJ2K: codestreams looked at from outside, and decoded so that damage is told."""
