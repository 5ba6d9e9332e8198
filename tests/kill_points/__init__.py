"""Verbs that are killed, interrupted and cut off anywhere, and have to converge all the same."""
