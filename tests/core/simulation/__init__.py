"""A simulated world around the core: moves drawn by chance, journals made of them, owners that crash, invariants.

`moves` draws plain moves, `bodies` makes records of them, `world` tells them to the real partition and to owners that
die and come back, `invariants` are checked after every entry. `python -m tests.core.simulation` runs it for long.
"""
