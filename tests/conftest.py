"""
What holds for every test: generated cases are the same in each run, and how long one takes decides nothing.

A busy machine is slow; a case that fails has to fail for whoever looks next. `make soak` searches with new seeds.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "steady", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("searching", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HANSE_HYPOTHESIS", "steady"))
