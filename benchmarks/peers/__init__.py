"""Our token service beside others, on the same processors: `make bench-peers` writes `benchmarks/REPORT.md`.

The peers come from their registries at exact versions into `.peers/`, which git ignores.
"""
