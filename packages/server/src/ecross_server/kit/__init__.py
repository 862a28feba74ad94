"""What every part needs and no part owns: errors, time, identifiers, files, logs, the database.

Nothing here knows HTTP or any domain.
"""
