"""Words for what the database holds."""

from tg2em_core.models import Category, SignInState, Source

from moorage.panel.text import lazy

CATEGORIES = {
    Category.QUARK: lazy("Quark"),
    Category.ALIYUN: lazy("Aliyun"),
    Category.BAIDU: lazy("Baidu"),
    Category.MOBILE: lazy("China Mobile"),
    Category.OTHER: lazy("Other"),
}
SOURCES = {
    Source.PREVIEW: lazy("public preview page"),
    Source.ACCOUNT: lazy("Telegram account"),
    Source.EXPORT: lazy("exported folder"),
}
SIGN_IN = {
    SignInState.SIGNED_OUT: lazy("signed out"),
    SignInState.REQUESTED: lazy("asking Telegram for a code"),
    SignInState.CODE_NEEDED: lazy("waiting for the code"),
    SignInState.CODE_GIVEN: lazy("checking the code"),
    SignInState.PASSWORD_NEEDED: lazy("waiting for the two-step password"),
    SignInState.PASSWORD_GIVEN: lazy("checking the password"),
    SignInState.SIGNED_IN: lazy("signed in"),
    SignInState.FAILED: lazy("failed"),
}
OPTIONS = {
    "scraper_enabled": lazy("Read channels"),
    "scraper_interval": lazy("Seconds between two rounds"),
    "scraper_base_url": lazy("Address of the preview pages"),
    "scraper_backfill_pages": lazy("Older pages to read of a new channel"),
    "scraper_blocked_tags": lazy("Tags to leave out (separated by commas)"),
    "picture_enabled": lazy("Fetch pictures"),
    "picture_max_edge": lazy("Longest edge of a picture in pixels"),
    "picture_quality": lazy("WebP quality"),
    "tgstate_url": lazy("Image service, as this server reaches it"),
    "tgstate_public_url": lazy("Image service, as browsers reach it (empty: through here)"),
    "tgstate_password": lazy("Image service's password"),
    "site_title": lazy("Name of the site"),
    "site_page_size": lazy("Articles on a page"),
}
REASONS = {
    "must be on or off": lazy("must be on or off"),
    "must be a whole number": lazy("must be a whole number"),
    "must be between %(low)s and %(high)s": lazy("has a value outside of its limits"),
    "must be a text of at most 2048 characters": lazy("is too long"),
    "must be a URL that begins with http:// or https://": lazy(
        "must be a URL that begins with http:// or https://"
    ),
    "must be a list of words": lazy("must be a list of words"),
}


def category(value: Category) -> str:
    """Return a category's name."""
    return str(CATEGORIES[value])
