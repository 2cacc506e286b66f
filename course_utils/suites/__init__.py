"""Suites of the scoreboard: JSON-lines files, one item a line. README.md has the format."""
