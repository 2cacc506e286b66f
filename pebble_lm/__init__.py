"""Pebble, the course's own family of tiny models: its facts, corpus, recipe and weights.

`world` is what lessons and checks draw from; `factory` makes the models, and no lesson needs it; `models` holds them.
To rebuild them: `python -m pebble_lm --help`; to measure them: `python -m tools.measuring --help`.
"""
