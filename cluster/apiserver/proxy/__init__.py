"""Requests that somebody else answers: how they are passed on, whoever that is."""
