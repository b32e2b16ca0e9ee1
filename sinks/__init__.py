"""Effects: what leaves Mandate. The CRM sink writes what a grant covers, the audit sink lands every record once.

A sink keeps its place in the topics inside the store it writes to, in the same transaction as the effect. Kafka's
consumer groups are not used: after a kill at any moment, store and place agree.
"""
