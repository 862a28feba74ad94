"""How many token requests one may send: budgets on this machine, shared among several through Redis or Valkey.

What a request is charged to, and what comes of an empty budget, is the token endpoint's business.
"""
