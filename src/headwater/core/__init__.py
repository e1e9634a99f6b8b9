"""Values that all rooms share: events in columns, their schemas, hashes, time, errors, compiled kernels.

In: nothing. Out: types. Nothing here knows of a log, a model or a server.
"""
