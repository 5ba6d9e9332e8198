"""Admission: what a write must satisfy beyond its schema, and what is filled in. `chain.py` has the order."""
