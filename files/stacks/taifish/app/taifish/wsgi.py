"""What gunicorn serves."""

from taifish.app import create_app
from taifish.config import Config, WebConfig

app = create_app(Config.from_environment(), WebConfig.from_environment())
