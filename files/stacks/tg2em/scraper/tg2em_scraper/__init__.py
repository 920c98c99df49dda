"""tg2em's scraper: collects resource posts from Telegram channels.

Three sources (public preview pages, an account, a Telegram Desktop export) turn posts into
`messages.Message`; `fields` reads the resource from the text; `store` writes it once for good;
`pictures` brings the picture to the image service; `runner` does this at the set interval.
"""
