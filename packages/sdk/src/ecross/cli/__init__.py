"""The merchant's command `ecross`. What it can do, a program can do with `Client` as well."""
