"""What the tests of the deployment share with those of the service."""

from tests.serving.conftest import app, client, pool

__all__ = ["app", "client", "pool"]
