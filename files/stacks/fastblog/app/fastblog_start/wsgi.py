"""What gunicorn's worker serves."""

from fastblog.app import create_app
from fastblog.config import Config
from fastblog.messages import join

app = create_app(Config.from_environment())
join(app)
