"""Our client beside others: calls a second, and how many tokens each asks for."""
