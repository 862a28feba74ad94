"""The audit trail: who did what, every token issued and every failure, in a chain that shows what was changed.

Stands below the other domains: they record here, and pass on who acts.
"""
