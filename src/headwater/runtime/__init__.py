"""Wires the rooms: the fold, its shells, processes and configuration.

In: an app, a log, settings. Out: a running system, or a replay of one. Never here: arithmetic of features or models.
"""
