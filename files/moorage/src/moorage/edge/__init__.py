"""The edge of a host: the nginx that owns its public ports and passes requests to the stacks."""

from moorage.edge.core import Edge
from moorage.edge.errors import EdgeError

__all__ = ["Edge", "EdgeError"]
