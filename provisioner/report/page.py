"""
One page of HTML over runs: a timeline a host, and what changed. Pure.

It carries its own style, no script, and asks nobody for anything; everything from the ledger is escaped, and what looks
like a secret is taken out.
"""

import html
from collections.abc import Sequence

from provisioner.diagnosis.redact import redacted
from provisioner.report.runs import Recorded, Step

_LEAST = 0.4  # percent of a timeline's width that a step is drawn with at least
_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
:root {{ color-scheme: light dark; --done: #2a7d46; --failed: #b3261e; --held: #8a8f98; --cut: #b26a00; }}
body {{ font: 15px/1.45 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }}
section {{ border-top: 1px solid #8886; padding: .5rem 0 1.5rem; }}
h2 small, dt, .when {{ font-weight: normal; color: #888; }}
dl {{ display: grid; grid-template-columns: 8rem 1fr; margin: .5rem 0; }} dd {{ margin: 0; overflow-wrap: anywhere; }}
.row {{ display: grid; grid-template-columns: 12rem 1fr; align-items: center; margin: .15rem 0; }}
.row > span {{ overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }}
.bars {{ position: relative; height: 1.1rem; background: #8882; border-radius: 3px; }}
.bars i {{ position: absolute; height: 100%; border-radius: 3px; opacity: .85; }}
.done {{ background: var(--done); }} .failed {{ background: var(--failed); }}
.held-already {{ background: var(--held); }} .cut-off {{ background: var(--cut); }}
table {{ border-collapse: collapse; width: 100%; }}
td, th {{ text-align: left; padding: .15rem .6rem .15rem 0; vertical-align: top; overflow-wrap: anywhere; }}
td:first-child, td:nth-child(4) {{ white-space: nowrap; }}
.mark {{ display: inline-block; width: .7rem; height: .7rem; border-radius: 2px; margin-right: .4rem; }}
</style></head><body>
"""


def render(cluster: str, runs: Sequence[Recorded]) -> str:
    """The newest run first."""
    title = f"Runs of {cluster}"
    parts = [_HEAD.format(title=_text(title)), f"<h1>{_text(title)}</h1>\n"]
    if not runs:
        parts.append("<p>Nothing was recorded.</p>\n")
    parts += [_run(run) for run in reversed(runs)]
    return "".join([*parts, "</body></html>\n"])


def _run(run: Recorded) -> str:
    seconds = (run.ended - run.began).total_seconds()
    facts = [
        ("Began", f"{run.began:%Y-%m-%d %H:%M:%S} UTC"),
        ("Took", f"{seconds:.1f} s"),
        ("By", run.operator or "unknown"),
        ("Ended", run.outcome if run.outcome != "cut off" else "has no end: it was cut off, or goes on"),
        *([("Why", run.why)] if run.why else []),
        ("Changed", f"{len(run.changed)} of {len(run.steps)} steps had something to do"),
    ]
    listed = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in facts)
    heading = f"{_mark(run.outcome)}{_text(run.what or run.verb)} <small>{_text(run.verb)}, run {_text(run.id)}</small>"
    rows = "".join(_row(run, host) for host in run.hosts)
    return f'<section id="{_text(run.id)}"><h2>{heading}</h2><dl>{listed}</dl>{rows}{_table(run)}</section>\n'


def _row(run: Recorded, host: str) -> str:
    bars = "".join(_bar(run, step) for step in run.steps if step.host == host)
    return f'<div class="row"><span>{_text(host or "all")}</span><div class="bars">{bars}</div></div>'


def _bar(run: Recorded, step: Step) -> str:
    whole = (run.ended - run.began).total_seconds() or 1.0
    left = max(0.0, min(100.0, (step.began - run.began).total_seconds() / whole * 100))
    width = max(_LEAST, min(100.0 - left, _seconds(step) / whole * 100))
    said = f"{step.what}: {step.outcome}, {_seconds(step):.1f} s"
    return f'<i class="{_class(step.outcome)}" style="left:{left:.2f}%;width:{width:.2f}%" title="{_text(said)}"></i>'


def _table(run: Recorded) -> str:
    if not run.steps:
        return ""
    rows = "".join(
        f"<tr><td>{_mark(step.outcome)}{_text(step.outcome)}</td><td>{_text(step.host or 'all')}</td>"
        f"<td>{_text(step.what)}{': ' + _text(step.why) if step.why else ''}</td><td>{_seconds(step):.1f} s</td></tr>"
        for step in run.steps
    )
    head = "<tr><th></th><th>Host</th><th>Step</th><th>Took</th></tr>"
    return f"<details><summary>{len(run.steps)} steps</summary><table>{head}{rows}</table></details>"


def _seconds(step: Step) -> float:
    return max(0.0, (step.ended - step.began).total_seconds())


def _mark(outcome: str) -> str:
    return f'<span class="mark {_class(outcome)}"></span>'


def _class(outcome: str) -> str:
    return outcome.replace(" ", "-")


def _text(value: str) -> str:
    return html.escape(redacted(str(value)), quote=True)
