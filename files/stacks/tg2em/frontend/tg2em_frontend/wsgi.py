"""What gunicorn serves."""

from tg2em_frontend.app import create_app
from tg2em_frontend.config import FrontendConfig

app = create_app(FrontendConfig.from_environment())
