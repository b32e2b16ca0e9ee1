"""Mutation check of the governance modules: no change of one place may turn a BLOCK or a DEFER into a PERMIT unseen.

`mutants` makes small changes of the source, `patch` puts one into a forked process, `cases` are the tests that should
notice it, `oracle` plays journals to tell whether one that nobody noticed is dangerous. `python -m tests.mutation`.
"""
