"""What a build need not do again: results kept by the hash of everything that they depend on.

In reading order: `store` (folders by key, their checksums, what is pruned), `sources` (which of our
own modules a result depends on), `keys` (what a key is made of) and `builds` (what of a build is
kept, and what is said of it when it comes back). docs/sweep.md tells users what is trusted and why.
"""
