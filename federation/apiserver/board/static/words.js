// Signs and words for states, so that none is told by its colour alone.

export const HEALTH = {
  Ready: { sign: "●", tone: "good", says: "Ready" },
  Suspect: { sign: "◐", tone: "warn", says: "Suspect" },
  Unreachable: { sign: "✕", tone: "bad", says: "Unreachable" },
  Isolated: { sign: "◌", tone: "cut", says: "Isolated" },
  Pending: { sign: "○", tone: "quiet", says: "Pending" },
  Leaving: { sign: "→", tone: "quiet", says: "Leaving" },
};

export const STATE = {
  Applied: { sign: "✓", tone: "good" },
  Starting: { sign: "◔", tone: "warn" },
  Pending: { sign: "…", tone: "warn" },
  Evicting: { sign: "⇢", tone: "warn" },
  Deleting: { sign: "⌫", tone: "warn" },
  Unplaced: { sign: "!", tone: "bad" },
  Conflict: { sign: "≠", tone: "bad" },
  Failed: { sign: "✕", tone: "bad" },
  Suspended: { sign: "‖", tone: "quiet" },
  Nowhere: { sign: "○", tone: "bad" },
  Gone: { sign: "–", tone: "quiet" },
};

export function many(count, one, more = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : more}`;
}
