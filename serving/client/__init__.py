"""A typed client for TensorFlow Serving and the stand-in: gRPC and REST, blocking and asyncio.

Importing it imports NumPy and protobuf, not TensorFlow.
"""

from serving.client.client import AsyncClient, Client
from serving.client.errors import RequestError
from serving.client.results import (
    Joint,
    Metadata,
    Prediction,
    Signature,
    TensorSpec,
    VersionStatus,
)
from serving.client.retries import RetryPolicy
from serving.client.transports import Tls

__all__ = [
    "AsyncClient",
    "Client",
    "Joint",
    "Metadata",
    "Prediction",
    "RequestError",
    "RetryPolicy",
    "Signature",
    "TensorSpec",
    "Tls",
    "VersionStatus",
]
