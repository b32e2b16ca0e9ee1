"""Scenarios of judgement: given, when, then over journal time, in YAML that people who do not program can read.

`source` reads YAML with its lines, `document` is its shape, `tale` keeps the journal of one scenario, `steps` are the
words of given and when, `expectations` those of then, `proofs` what is checked unasked, `telling` how a failure reads.
`runner` puts them together.
"""
