"""
A runbook's page, read and judged. Pure.

    # Title
    Needs: CLUSTER, HOST (the dead host's name)

    ## Meaning        what has happened
    ## Impact         what works and what does not
    ## Diagnosis      how to see that it is this
    ## Mitigation     what to do
    ## Rehearsed by   the tests that cause the fault and carry this page out

Commands stand in fenced blocks whose first word is `sh`; a second word says what a block is for:

    sh             do it; an exit code other than 0 ends the run
    sh probe       has to succeed before anything is done: the page is about this
    sh gate        is asked again until it succeeds or its patience is over (`sh gate 60`, in seconds)
    sh rollback    is done when something after it, up to the next rollback, fails

Commands see the variables of `Needs` in their environment. Text in angle brackets is for people alone.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

SECTIONS = ("Meaning", "Impact", "Diagnosis", "Mitigation", "Rehearsed by")
GATE_PATIENCE = 120  # seconds


class Purpose(StrEnum):
    """What a block of commands is for."""

    DO = "do"
    PROBE = "probe"
    GATE = "gate"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Block:
    """Commands that belong together, and the sentence before them."""

    purpose: Purpose
    commands: str
    about: str = ""
    patience: int = 0
    """Seconds that a gate is asked again."""


@dataclass(frozen=True, slots=True)
class Runbook:
    """One page."""

    name: str
    title: str
    needs: dict[str, str]
    """Variable -> what it is, in words; empty where the name says it."""
    sections: dict[str, str]
    diagnosis: tuple[Block, ...]
    mitigation: tuple[Block, ...]
    rehearsed_by: tuple[str, ...]
    """Tests, as pytest calls them: path, or path::name."""
    text: str


class PageFault(ValueError):
    """The page is no runbook. The message says what is missing and where."""


def read_page(name: str, text: str) -> Runbook:
    """Raises PageFault."""
    lines = text.splitlines()
    if not lines or not lines[0].startswith("# "):
        raise PageFault(f"{name}: the first line is no title (`# What has happened`)")
    sections = _sections(name, lines)
    if missing := [section for section in SECTIONS if not sections.get(section, "").strip()]:
        raise PageFault(f"{name}: nothing stands under {', '.join(f'## {section}' for section in missing)}")
    if strange := [section for section in sections if section and section not in SECTIONS]:
        raise PageFault(f"{name}: {', '.join(strange)} is no section of a runbook; they are {', '.join(SECTIONS)}")
    needs = _needs(name, sections[""])
    mitigation = tuple(_blocks(name, sections["Mitigation"]))
    if not any(block.purpose is Purpose.DO for block in mitigation):
        raise PageFault(f"{name}: its mitigation does nothing; commands stand in blocks that begin with ```sh")
    diagnosis = tuple(_blocks(name, sections["Diagnosis"]))
    used = set(re.findall(r"\$\{?([A-Z][A-Z_]*)\b", "\n".join(one.commands for one in (*diagnosis, *mitigation))))
    if unknown := sorted(used - set(needs) - {"HOME", "PATH", "KUBECONFIG", "HANSE_HOME"}):
        raise PageFault(f"{name}: commands use ${unknown[0]}, which its line `Needs:` does not name")
    rehearsed = tuple(re.findall(r"`(tests/[\w./]+(?:::\w+)?)`", sections["Rehearsed by"]))
    if not rehearsed:
        raise PageFault(f"{name}: no test is named under ## Rehearsed by")
    return Runbook(name, lines[0][2:].strip(), needs, sections, diagnosis, mitigation, rehearsed, text)


def _sections(name: str, lines: list[str]) -> dict[str, str]:
    """Heading -> what stands below it; what stands before the first is under an empty one."""
    found: dict[str, list[str]] = {"": []}
    here, fenced = "", False
    for line in lines[1:]:
        if line.startswith("```"):
            fenced = not fenced
        if line.startswith("## ") and not fenced:
            here = line[3:].strip()
            found[here] = []
        else:
            found[here].append(line)
    if fenced:
        raise PageFault(f"{name}: a block of commands does not end")
    return {heading: "\n".join(body) for heading, body in found.items()}


def _needs(name: str, text: str) -> dict[str, str]:
    found = re.search(r"^Needs:(.*)$", text, re.M)
    if not found:
        raise PageFault(f"{name}: there is no line `Needs:` below the title; `Needs: CLUSTER` names what it is about")
    needs = {}
    for part in re.split(r",\s*(?![^(]*\))", found[1].strip()):
        word = re.fullmatch(r"([A-Z][A-Z_]*)(?:\s*\((.*)\))?", part.strip())
        if not word:
            raise PageFault(f"{name}: {part.strip()!r} is no variable; write `HOST (the dead host's name)`")
        needs[word[1]] = word[2] or ""
    return needs


def _blocks(name: str, text: str) -> Iterator[Block]:
    about: list[str] = []
    lines = iter(text.splitlines())
    for line in lines:
        if not line.startswith("```"):
            about.append(line.strip())
            continue
        words = line[3:].split()
        body = list(itertools.takewhile(lambda inside: not inside.startswith("```"), lines))
        if words[:1] == ["sh"]:
            yield _block(name, words[1:], "\n".join(body), _last_paragraph(about))
        about = []


def _block(name: str, words: list[str], commands: str, about: str) -> Block:
    try:
        purpose = Purpose(words[0]) if words else Purpose.DO
        patience = int(words[1]) if len(words) > 1 else GATE_PATIENCE
    except ValueError:
        raise PageFault(f"{name}: a block `sh {' '.join(words)}` is of no known purpose") from None
    return Block(purpose, commands, about, patience if purpose is Purpose.GATE else 0)


def _last_paragraph(lines: list[str]) -> str:
    paragraphs = re.split(r"\n\s*\n", "\n".join(lines).strip())
    return re.sub(r"^\d+\.\s+", "", " ".join(paragraphs[-1].split()))
