"""
The operator's half of the module `hanse_files`: reads the files that a role sends as they are.

`copies` maps a path below `copies_root` to a file on the operator's machine; `copies_owners` names who owns what, the
first pattern that fits wins. What holds a key gets mode 0600, all else 0644. The contents go to the module as secrets,
in the payload that is piped over SSH: never in argv, a variable or a log.
"""

from __future__ import annotations

import base64
import fnmatch
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

SECRET_NAMES = (".key", "encryption.yaml")


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible publishes no types
    """Replaces `copies` by `secrets` and runs the module."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        copies = arguments.pop("copies", None) or {}
        root, owners = arguments.pop("copies_root", "/"), arguments.pop("copies_owners", None) or []
        arguments["secrets"] = [self._read(f"{root}/{path}", path, source, owners) for path, source in copies.items()]
        result.update(self._execute_module("hanse_files", module_args=arguments, task_vars=task_vars))
        result.pop("invocation", None)
        return result

    def _read(self, path: str, name: str, source: str, owners: list[dict[str, str]]) -> dict[str, str]:
        try:
            content = Path(source).read_bytes()
        except OSError as failure:
            raise AnsibleActionFail(f"cannot read {source} for {path}: {failure}") from failure
        owner = next((rule["owner"] for rule in owners if fnmatch.fnmatch(name, rule["match"])), "root")
        mode = "0600" if name.endswith(SECRET_NAMES) else "0644"
        return {"path": path, "content": base64.b64encode(content).decode(), "mode": mode, "owner": str(owner)}
