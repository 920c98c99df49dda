"""The application factory."""

from flask import Flask, request, url_for
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

import moorage.panel
from moorage.application import errors, i18n
from moorage.application import metrics as figures
from moorage.application.proxies import NamedProxies
from moorage.control import ControlBackend
from moorage.control.connect import connect
from moorage.panel import assets, create_blueprint, csrf
from moorage.panel.text import gettext as _
from moorage.panel.text import moment
from tg2em_frontend import (
    admin,
    api,
    auth,
    channels,
    health,
    images,
    links,
    metrics,
    names,
    public,
    security,
    store,
    telegram,
)
from tg2em_frontend.config import FrontendConfig


def create_app(config: FrontendConfig, *, control: ControlBackend | None = None) -> Flask:
    """Return the application; it connects to nothing before the first request."""
    app = Flask(__name__)
    app.secret_key = config.session_key
    app.config["TG2EM"] = config
    if config.trusted_proxies:
        app.wsgi_app = NamedProxies(  # type: ignore[method-assign]
            app.wsgi_app, config.trusted_proxies, config.proxy_networks
        )
    backend = control or connect(config.control_socket)
    app.extensions["control"] = backend
    figures.init(app, "tg2em", metrics.DatabaseCollector())
    store.init(app, config.database)
    behind_proxy = config.trusted_proxies > 0
    security.init(app, cookie_secure=config.cookie_secure, behind_proxy=behind_proxy)
    csrf.protect(app)
    assets.register(app)
    i18n.init(app, moorage.panel)
    errors.init(app, (OperationalError, PoolTimeout), _texts)
    _templates(app)
    for module in (public, api, images, health, auth, admin, channels, telegram):
        app.register_blueprint(module.blueprint)
    panel = create_blueprint(
        backend,
        authorize=auth.require,
        current_user=auth.current_user,
        own_service=config.own_service,
        layout="admin/layout.html",
    )
    app.register_blueprint(panel, url_prefix="/admin/services")
    return app


def _texts() -> errors.Texts:
    return {
        400: (_("This request could not be understood"), _("Go back and try again.")),
        404: (_("Nothing here"), _("The page does not exist, or its article was deleted.")),
        405: (_("Not possible"), _("This address does not take that kind of request.")),
    }


def _templates(app: Flask) -> None:
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals.update(
        site_title=store.site_title,
        bool_type=bool,
        signed_in=auth.user,
        image_url=links.image_url,
        external=links.external,
        page_url=_page_url,
        category_name=names.category,
        categories=names.CATEGORIES,
    )
    app.jinja_env.filters["moment"] = moment
    app.jinja_env.filters["day"] = lambda value: moment(value, "yyyy-MM-dd")


def _page_url(**changes: object) -> str:
    """Return the present address with some of its query changed; None takes a part out."""
    arguments: dict[str, object] = {**(request.view_args or {}), **request.args.to_dict()}
    arguments |= changes
    kept = {name: value for name, value in arguments.items() if value not in (None, "")}
    return url_for(request.endpoint or "public.index", **kept)  # type: ignore[arg-type]
