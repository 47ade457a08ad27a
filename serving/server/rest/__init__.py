"""The REST side of the server: URLs, bodies, origins, replies. It knows `backend` only."""
