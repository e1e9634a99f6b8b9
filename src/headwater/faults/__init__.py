"""Faults, injected on purpose: one seed makes a schedule, one oracle says whether anything was lost or counted twice.

In: the real rooms, as a user's app has them. Out: how often each class of fault fired, and every violation. Never here: a
second implementation of what is tested.
"""
