"""What tg2em's front end and scraper share: tables, settings and the database session."""
