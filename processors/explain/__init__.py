"""Explanations for people: why a decision is what it is, and what a policy takes. Nothing here decides.

`decision` explains a decision and `notes` is what it writes, as a value and as JSON; `text` tells that to people.
`refold` folds the lead's journal again, for the facts that the decision read and to compare its bytes. `requirement`
words what a rule's check demands, from the bundle alone; `remedies` adds what the request and the state put in the way.
`action` tells from a bundle what it takes for a role to be permitted an action. `severity` says which of several
reasons or rules leads.

The modules that decide import nothing of this package; a test in tests/tidy says so.
"""
