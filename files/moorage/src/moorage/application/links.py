"""Addresses that come with a request, before a redirect goes there."""


def local_path(target: str, default: str = "/") -> str:
    r"""Return the target when it is a path of ours, else the default.

    `//host`, `/\host` and whatever holds a control character would lead elsewhere.
    """
    unsafe = target.startswith("//") or "\\" in target or any(ord(c) < 33 for c in target)
    return target if target.startswith("/") and not unsafe else default
