"""The frontier: what quality costs on a user's own history, under each policy of updates.

In: a prepared table. Out: a report of policies with quality and core-seconds. The stream is replayed on a simulated clock:
labels come when they came, an update serves only after as long as it took to make. Never here: files, screens, networks.
"""
