"""
Is everything fit for a cluster? Checks with an id, a severity and a cure; read before the first change.

`run.py::preflight` asks the hosts, `checks.py` lists every check, and the `judge_*` modules decide; they are pure.
"""
