"""API Gateway's WebSocket API on a laptop, for any Chalice app. It knows AWS and nothing else."""

from localgateway.chaos import Chaos
from localgateway.serving import LocalGateway, serve
from localgateway.settings import Settings

__all__ = ["Chaos", "LocalGateway", "Settings", "serve"]
