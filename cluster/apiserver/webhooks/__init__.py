"""Servers that are asked about writes (admission) and for objects in another version (conversion)."""
