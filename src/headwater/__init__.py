"""Keeps machine-learning models fresh from event streams."""
