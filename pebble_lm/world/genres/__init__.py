"""The kinds of document in Pebble's corpus; each function writes one document from a random generator."""
