"""What Pebble can and cannot do, measured: rates with 95 % intervals, on prompts that training never used.

`split="dev"` is for choices made while building. `split="test"` uses entities, relations, phrasings, verbs, objects,
article shapes and functions that no SFT example and no earlier choice has used; its figures stand in the models' cards.
Every suite is greedy unless it says otherwise, and every prompt is drawn from a fixed seed.

`base` and `forms` measure pebble-base; `instruct`, `everyday` and `code` measure pebble-sft and what was made of it;
`rungs` measures what that was made for. A suite is a list of cases, see `pebble_lm.world.rates`; `cases` is what suites
share, and `cards` writes what was found.
"""
