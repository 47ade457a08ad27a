"""The REST server: URLs, bodies, origins, responses. It depends on `backend` only."""
