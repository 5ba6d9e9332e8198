"""The source of `ask_host`, as it is sent to hosts."""

import inspect

from provisioner.facts import ask_host

SOURCE = inspect.getsource(ask_host).encode()
