"""
Where objects go and what they look like there. Pure: no client, no clock, no I/O; the same input gives the same plan.

`plan.py::plan` is the door: policy and members in, a Plan out. `render.py`, `aggregate.py` and `brake.py` serve the
controllers that carry it out.
"""
