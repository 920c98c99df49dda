"""tg2em's front end: what visitors read, and the administration. See app.create_app."""
