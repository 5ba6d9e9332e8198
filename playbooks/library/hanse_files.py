#!/usr/bin/python
"""
Bring every file of one role on this host to its desired state, in one step, and say what differed.

A role's whole state is one task: on five hosts that share two cores a task costs about 0.25 s a host, so forty
small ones would cost more than everything else. The role's record (/var/lib/hanse/files/ROLE.json) lists what it
made; a file that is no longer wanted is removed, and `state: absent` removes all of it and nothing else.
"""

from __future__ import annotations

import base64
import grp
import hashlib
import json
import os
import pwd
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: hanse_files
short_description: Bring every file of one role to its desired state
description:
  - Users, directories, files, links and systemd units of a role, written atomically, with a true diff in check mode.
  - Contents of O(secrets) never appear in a diff or a log.
options:
  role: {description: Name of the role that owns the files., type: str, required: true}
  state:
    description: C(absent) removes what the record lists.
    type: str
    choices: [present, absent]
    default: present
  users: {description: System users to make., type: list, elements: dict, default: []}
  directories: {description: Directories with mode, owner and group., type: list, elements: dict, default: []}
  files: {description: Files with content, mode, owner and group., type: list, elements: dict, default: []}
  secrets: {description: Files whose base64 content is secret., type: list, elements: dict, default: []}
  links: {description: Symbolic links., type: list, elements: dict, default: []}
  units:
    description: Systemd units. C(inputs) names files whose change calls for a restart.
    type: list
    elements: dict
    default: []
  release: {description: Digest of the release that the units run., type: str, default: ""}
  sysctl_file: {description: One of O(files) whose settings are applied at once., type: str, default: ""}
author: [Hanse]
"""
EXAMPLES = r"""
- name: Lay down the proxy
  hanse_files:
    role: proxy
    files: [{path: /etc/proxy.conf, content: "port 1", mode: "0644"}]
"""
RETURN = r"""
paths: {description: What was made, changed or removed., type: list, returned: always}
"""

RECORDS = Path("/var/lib/hanse/files")
UNIT_DIR = Path("/etc/systemd/system")
WANTS = UNIT_DIR / "multi-user.target.wants"


class Laying:
    """One run over a role's state: compares, changes unless in check mode, and keeps the differences."""

    def __init__(self, check: bool) -> None:
        self.check = check
        self.paths: list[str] = []
        self.diffs: list[dict[str, str]] = []
        self.units_changed = False

    def note(self, path: Path, before: str = "", after: str = "") -> None:
        self.paths.append(str(path))
        self.diffs.append({"before_header": str(path), "after_header": str(path), "before": before, "after": after})

    def user(self, wanted: dict[str, Any]) -> None:
        try:
            pwd.getpwnam(wanted["name"])
        except KeyError:
            self.note(Path("/etc/passwd"), after=f"user {wanted['name']}\n")
            if not self.check:
                home = wanted.get("home", "/nonexistent")
                argv = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", home]
                subprocess.run([*argv, "--shell", "/usr/sbin/nologin", wanted["name"]], check=True, capture_output=True)

    def directory(self, wanted: dict[str, Any]) -> None:
        path = Path(wanted["path"])
        if not path.is_dir():
            self.note(path, after="directory\n")
            if self.check:
                return
            path.mkdir(parents=True)
            user, group = owner_of(wanted)
            os.chown(path, user, group)
            path.chmod(int(wanted.get("mode", "0755"), 8))
        else:
            self.owner_and_mode(path, wanted, "0755")

    def file(self, wanted: dict[str, Any], content: bytes, secret: bool = False) -> None:
        path = Path(wanted["path"])
        before = path.read_bytes() if path.is_file() and not path.is_symlink() else None
        if before != content:
            if secret:
                self.note(path, after=f"{len(content)} bytes\n")
            else:
                self.note(path, (before or b"").decode(errors="replace"), content.decode(errors="replace"))
            if self.check:
                return
            self.write(path, content, wanted)
        elif path.exists():
            self.owner_and_mode(path, wanted, "0644")

    def write(self, path: Path, content: bytes, wanted: dict[str, Any]) -> None:
        """Never half a file, never one that is readable before it has its mode."""
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as out:
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
            user, group = owner_of(wanted)
            os.chown(temporary, user, group)
            os.chmod(temporary, int(wanted.get("mode", "0644"), 8))
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise

    def owner_and_mode(self, path: Path, wanted: dict[str, Any], default_mode: str) -> None:
        mode = int(wanted.get("mode", default_mode), 8)
        status = path.stat()
        try:
            user, group = owner_of(wanted)
        except KeyError:
            if self.check:
                return  # the user is made by this very run
            raise
        if (status.st_mode & 0o7777) != mode or (status.st_uid, status.st_gid) != (user, group):
            had = f"{status.st_mode & 0o7777:04o} {status.st_uid}:{status.st_gid}\n"
            self.note(path, had, f"{mode:04o} {user}:{group}\n")
            if not self.check:
                os.chown(path, user, group)
                path.chmod(mode)

    def link(self, path: Path, target: str) -> None:
        before = os.readlink(path) if path.is_symlink() else ""
        if before == target:
            return
        self.note(path, f"{before}\n" if before else "", f"{target}\n")
        if not self.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.new")
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(target)
            os.replace(temporary, path)

    def unit(self, wanted: dict[str, Any], contents: dict[str, bytes], release: str) -> None:
        """
        A unit and its link at boot. HANSE_INPUTS in its environment is the hash of all that it runs from: a
        process whose environment holds another one was started before the change and needs a restart.
        """
        digest = hashlib.sha256(f"{release}\n{wanted['content']}".encode())
        for path in wanted.get("inputs", []):
            digest.update(contents[path])
        line = f"[Service]\nEnvironment=HANSE_INPUTS={digest.hexdigest()[:16]}\n"
        content = wanted["content"].replace("[Service]\n", line, 1).encode()
        before = len(self.paths)
        self.file({"path": str(UNIT_DIR / wanted["name"]), "mode": "0644"}, content)
        self.link(WANTS / wanted["name"], str(UNIT_DIR / wanted["name"]))
        self.units_changed = self.units_changed or len(self.paths) > before

    def remove(self, path: Path) -> None:
        if path.is_symlink() or path.is_file():
            self.note(path, "present\n")
            if not self.check:
                path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            self.note(path, "directory\n")
            if not self.check:
                path.rmdir()


def owner_of(wanted: dict[str, Any]) -> tuple[int, int]:
    owner = wanted.get("owner", "root")
    return pwd.getpwnam(owner).pw_uid, grp.getgrnam(wanted.get("group", owner)).gr_gid


def desired_paths(params: dict[str, Any]) -> list[str]:
    """Everything the role makes, parents before children; a removal goes the other way round."""
    paths = [d["path"] for d in params["directories"]]
    paths += [f["path"] for f in (*params["files"], *params["secrets"])]
    paths += [link["path"] for link in params["links"]]
    for unit in params["units"]:
        paths += [str(UNIT_DIR / unit["name"]), str(WANTS / unit["name"])]
    return paths


def read_record(record: Path) -> list[str]:
    return list(json.loads(record.read_text())["paths"]) if record.exists() else []


def lay_down(params: dict[str, Any], laying: Laying) -> None:
    record = RECORDS / f"{params['role']}.json"
    wanted = desired_paths(params)
    earlier = read_record(record)
    if set(wanted) - set(earlier) and not laying.check:
        # Written first: a run that is killed on its way leaves nothing that no record knows.
        laying.write(record, record_bytes(wanted + [p for p in earlier if p not in wanted]), {})
    for user in params["users"]:
        laying.user(user)
    for directory in params["directories"]:
        laying.directory(directory)
    contents = {f["path"]: f["content"].encode() for f in params["files"]}
    for file in params["files"]:
        laying.file(file, contents[file["path"]])
    for secret in params["secrets"]:
        laying.file(secret, base64.b64decode(secret["content"]), secret=True)
    for link in params["links"]:
        laying.link(Path(link["path"]), link["target"])
    for unit in params["units"]:
        laying.unit(unit, contents, params["release"])
    for path in reversed([p for p in earlier if p not in wanted]):
        laying.remove(Path(path))
    if not laying.check and record.read_bytes() != record_bytes(wanted):
        laying.write(record, record_bytes(wanted), {})


def record_bytes(paths: list[str]) -> bytes:
    return json.dumps({"paths": paths}, indent=0).encode()


def take_away(params: dict[str, Any], laying: Laying) -> None:
    record = RECORDS / f"{params['role']}.json"
    paths = read_record(record)
    for path in sorted(paths, key=lambda p: -p.count("/")):
        laying.remove(Path(path))
    laying.units_changed = any(p.startswith(str(UNIT_DIR)) for p in laying.paths)
    if record.exists():
        laying.remove(record)


def apply_sysctl(text: str) -> list[str]:
    """Set what a sysctl file says, unless it is so already. Returns the keys that were changed."""
    changed = []
    for raw in text.splitlines():
        key, found, value = raw.partition("=")
        if not found or raw.lstrip().startswith("#"):
            continue
        path = Path("/proc/sys") / key.strip().lstrip("-").replace(".", "/")
        if not path.exists() and key.startswith("-"):
            continue
        if path.read_text().split() != value.split():
            path.write_text(value.strip())
            changed.append(key.strip())
    return changed


def main() -> None:
    lists = ("users", "directories", "files", "links", "units")
    module = AnsibleModule(
        argument_spec={
            "role": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "secrets": {"type": "list", "elements": "dict", "default": [], "no_log": True},
            "release": {"type": "str", "default": ""},
            "sysctl_file": {"type": "str", "default": ""},
            **{name: {"type": "list", "elements": "dict", "default": []} for name in lists},
        },
        supports_check_mode=True,
    )
    laying = Laying(module.check_mode)
    try:
        if module.params["state"] == "absent":
            take_away(module.params, laying)
        else:
            lay_down(module.params, laying)
            if module.params["sysctl_file"] and not module.check_mode:
                text = next(f["content"] for f in module.params["files"] if f["path"] == module.params["sysctl_file"])
                laying.paths += [f"sysctl {key}" for key in apply_sysctl(text)]
        if laying.units_changed and not module.check_mode:
            subprocess.run(["systemctl", "daemon-reload"], check=True, capture_output=True)
    except (OSError, KeyError, subprocess.CalledProcessError) as failure:
        said = getattr(failure, "stderr", b"") or b""
        module.fail_json(msg=f"role {module.params['role']}: {failure} {said.decode(errors='replace').strip()}".strip())
    module.exit_json(changed=bool(laying.paths), paths=laying.paths, diff=laying.diffs)


if __name__ == "__main__":
    main()
