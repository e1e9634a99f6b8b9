"""What an update would cost, what it would bring, and whether to begin one.

In: evidence of the last labels, measured core-seconds, a budget. Out: plans, which say what to do and why. Never here:
clocks, fits, models; nothing is carried out.
"""
