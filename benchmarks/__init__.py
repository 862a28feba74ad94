"""Measurements of the server beside a do-nothing route, on the machine at hand: `make bench`.

Nothing here passes or fails: budgets stand beside the figures, and whoever reads them decides. The server is always the
real command in processes of its own, on 127.0.0.1, with a data folder that is removed afterwards.
"""
