"""A customer chatbot: answers from a knowledge base, and people where that has none."""
