"""The pure core: `fold.step(state, entry, court) -> (state', outputs)`. No I/O, no clock, no chance."""
