"""An application for what harbour and chatbot leave untried."""
