"""What tests of serving share: models to serve, servers that answer as told, an export."""
