"""Pebble, the course's own family of tiny models: its facts, corpus, recipe, evaluation and weights.

The course never imports this package to run; it is here to be read, and to rebuild the models:
`python -m course_utils.pebble --help`.
"""
