"""Drop-ins that let nobody reach a service without a good access token: `ecross.middleware.asgi`, `...wsgi`.

They answer as the e-CROSS server does (RFC 6750), import no framework, and leave claims to `ecross.verifier`.
"""
