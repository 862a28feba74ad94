"""Tokens: issuing them, checking them, and the registry that lets both do without the database.

Who the merchants and clients are is the business of `merchants`.
"""
