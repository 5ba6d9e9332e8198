"""Names of container images, taken apart and put together: `registry:5000/team/app:1.2@sha256:…`. Pure."""

import re
from dataclasses import dataclass, replace

_DIGEST = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[0-9a-fA-F]{32,}")


@dataclass(frozen=True, slots=True)
class Image:
    registry: str
    """With its port; empty where the container runtime decides."""
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        name = f"{self.registry}/{self.repository}" if self.registry else self.repository
        tag = f":{self.tag}" if self.tag else ""
        return f"{name}{tag}@{self.digest}" if self.digest else name + tag


def parse(text: str) -> Image:
    """A first part with a dot or a colon, or localhost, is a registry; without those it belongs to the repository."""
    name, _, digest = text.partition("@")
    first, slash, rest = name.partition("/")
    registry = first if slash and ("." in first or ":" in first or first == "localhost") else ""
    path = rest if registry else name
    repository, _, tag = path.partition(":")
    return Image(registry, repository, tag, digest)


def changed(image: Image, component: str, operator: str, value: str) -> Image:
    """
    One component added to, replaced or removed. Tag and digest are one: an old digest would outweigh a new tag.

    Raises ValueError where the result would be no image.
    """
    if operator != "remove" and not value:
        raise ValueError(f"{operator} {component} needs a value")
    value = value if operator != "remove" else ""
    match component:
        case "Registry":
            registry = image.registry + value if operator == "add" else value
            return replace(image, registry=registry.rstrip("/"))
        case "Repository":
            repository = image.repository + value if operator == "add" else value
            if not repository.strip("/"):
                raise ValueError(f"image {image} would be without a repository")
            return replace(image, repository=repository.strip("/"))
        case "Tag":
            if operator == "add":
                if image.digest:
                    raise ValueError(f"image {image} is fixed by its digest, {value!r} cannot be added to that")
                return replace(image, tag=image.tag + value)
            if _DIGEST.fullmatch(value.removeprefix("@")):
                return replace(image, tag="", digest=value.removeprefix("@"))
            return replace(image, tag=value.removeprefix(":"), digest="")
        case _:
            raise ValueError(f"{component} is no part of an image; Registry, Repository and Tag are")
