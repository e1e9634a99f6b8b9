"""State on disk: the online view that others read, and the checkpoint that a learner restarts from.

In: arrays and what changed in them. Out: rows by key, arrays as they were. Never here: what the numbers mean.
"""
