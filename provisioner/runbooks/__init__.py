"""Runbooks: pages of `playbooks/runbooks/` that are read by people and carried out by `provision runbook run`."""
