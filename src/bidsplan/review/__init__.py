"""Review a plan: what it holds, what changed, what is missing, and other tools' forms of it."""
