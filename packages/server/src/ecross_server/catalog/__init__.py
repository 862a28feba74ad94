"""Products and their SKUs: what a merchant sells. Stock and prices have domains of their own."""
