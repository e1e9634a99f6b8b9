"""Every hot path against a named peer, on this machine, in one command: `make bench`.

A row runs Headwater and its peer by turns in the same conditions, each in a process of its own pinned to the same core, and
prints the ratio with its range. What a side does is written in its row, so that anyone can see whether the work is alike.

paths/   one file for each group of rows: what is run, how it is measured, what is checked
ours/    programs that run Headwater's side        apps/   the apps they declare
peers/   programs that run the peers' side, and the locked requirements of their environments
"""
