"""What freshness is worth on a table of history: the room of `headwater assess`.

In: one file, a row for each event, with its label beside it. Out: what each column seems to be, how good one learner would
have been if it was published at every event, now and then, or once, and an app that does the same on a stream. Never here:
a log, a process, a clock that decides anything.

The way of the data: reading -> columns -> times, kinds, leaks -> encoding -> ladder -> scores -> verdict, declaration.
"""
