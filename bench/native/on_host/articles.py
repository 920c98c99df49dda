"""Runs in what a service of chatbot sees: fill its knowledge base, once."""

from chatbot import knowledge
from chatbot.config import Config
from chatbot.db import Database

THINGS = ("refund", "parcel", "invoice", "password", "address", "gift", "warranty", "discount")
database = Database(Config.from_environment())
with database.transaction() as connection:
    for thing in THINGS:
        body = f"To ask about your {thing}, open your account and choose {thing}. " * 12
        knowledge.take_in(connection, f"What about my {thing}?", body, "bench", "")
database.close()
