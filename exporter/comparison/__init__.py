"""Two builds against each other, or one against limits.

`request` opens the builds, `compare` and `latency` say what changed (records), `budget` reads a
TOML file of limits and `budget_rules` holds the comparison to it; `text` and `markdown` tell.
"""
