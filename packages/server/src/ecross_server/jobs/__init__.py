"""Background work: jobs are queued in the transaction of a change, and run at least once by processes of their own.

What a job does is told by the domains above; here nobody knows any of them.
"""
