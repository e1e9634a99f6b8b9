"""Declared features become vectors.

In: batches of events. Out: for each scored event, a float64 vector of what was known before it. Memories of entities are
kept in tables, updated in log order, with watermarks that say what is late. Never here: labels, weights, files.
"""
