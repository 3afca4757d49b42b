"""Identity by content: the same exposure under other identifiers, re-sent, compressed, flipped, inverted or framed."""
