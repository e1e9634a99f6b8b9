"""Every score is judged before its label is learnt.

In: scored vectors and, later, labels. Out: prequential metrics of all experts, and one judged row a label. Never here:
deciding what to do about a verdict.
"""
