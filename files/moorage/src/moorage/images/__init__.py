"""Images: what goes into one, its content-addressed name, and building it on a host.

The controller names an image by a hash of everything that goes into it and ships sources only for
the names that a host does not hold; the host builds them. Environments take the same way. Standard
library only, on both sides.
"""

from moorage.images.errors import ImageError
from moorage.images.mapping import ImageMap
from moorage.images.spec import BuildSpec, stack_spec

__all__ = ["BuildSpec", "ImageError", "ImageMap", "stack_spec"]
