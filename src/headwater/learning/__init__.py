"""Learners: arrays that change one example at a time.

In: vectors and labels, in order. Out: scores, weights. Never here: events, clocks, files, random numbers.
"""
