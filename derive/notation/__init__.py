"""The text form of the language: its grammar, and how it is read and written."""
