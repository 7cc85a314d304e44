"""Many networks built and measured: which width, resolution and precision is worth its time.

In reading order: `points` (what is asked for), `weights` (the user's, or random ones of a real
size), `building` (points in processes side by side, from the cache where they are there),
`latency` (all of them in turn, when nothing is built any more), `published` (ImageNet accuracies of
the paper's authors), `records` and `fronts` (rows, and which of them nothing beats), `run`, `plot`.
"""
