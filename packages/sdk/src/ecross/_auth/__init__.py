"""The life of an access token: one state machine without input or output, and the two drivers that perform its steps.

How bytes are sent is not known here, nor where entries are kept.
"""
